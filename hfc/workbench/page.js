"use strict";
// The page of `hfc explain --html`. `data` is what hfc/workbench/page.py wrote; `at` is what is looked at.
const $ = (id) => document.getElementById(id);
const at = { plan: 0, program: 0, kernel: null, tab: "ops", line: null };
let data;

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") node.style.setProperty("--share", value);
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

const plan = () => data.plans[at.plan];
const program = () => plan().programs[at.program];
const launches = () => program().groups.flatMap((group) => group.launches.map((launch) => ({ ...launch, times: group.times })));
const percent = (part, whole) => `${whole ? Math.max(part ? 1 : 0, (100 * part) / whole).toFixed(1) : 0}%`;

function amount(n, unit) {
  for (const [size, prefix] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (n >= size) return `${(n / size).toPrecision(3)} ${prefix}${unit}`;
  }
  return `${n} ${unit}`;
}

// Which lines a launch comes from, each with its part: bytes are shared by the ops that hold most of them, the region's lines.
function placesOf(region) {
  const found = new Map();
  for (const op of plan().regions[region]?.ops ?? []) if (op.at) found.set(`${op.at[0]}:${op.at[1]}`, op.at);
  return found;
}

function heat() {
  const shares = new Map();
  for (const launch of launches()) {
    const places = heavy(launch.region);
    for (const place of places) shares.set(place, (shares.get(place) ?? 0) + (launch.bytes * launch.times) / places.length);
  }
  return shares;
}

// The lines of the region's ops that read weights or caches; all of its lines where none does.
function heavy(region) {
  const ops = plan().regions[region]?.ops ?? [];
  const reading = ops.filter((op) => op.reads);
  return [...new Set((reading.length ? reading : ops).filter((op) => op.at).map((op) => `${op.at[0]}:${op.at[1]}`))];
}

function drawHeader() {
  $("model").textContent = data.model;
  const choose = (id, names, chosen, pick) =>
    $(id).replaceChildren(...names.map((name, i) => make("button", { "aria-pressed": i === chosen, onclick: () => pick(i) }, name)));
  choose("archs", data.plans.map((p) => p.arch), at.plan, (i) => go({ plan: i, program: 0, kernel: null }));
  choose("programs", plan().programs.map((p) => p.name), at.program, (i) => go({ program: i, kernel: null }));
  $("facts").textContent = [data.weights, plan().arch, ...plan().facts].join("  ·  ");
}

function drawSource() {
  const shares = heat(), whole = [...shares.values()].reduce((a, b) => a + b, 0), most = Math.max(0, ...shares.values());
  const chosen = at.kernel ? placesOf(plan().kernels[at.kernel]?.region) : new Map();
  const known = new Set(Object.values(plan().regions).flatMap((r) => r.ops.filter((op) => op.at).map((op) => `${op.at[0]}:${op.at[1]}`)));
  const body = $("source").querySelector(".body");
  body.replaceChildren(...Object.entries(data.files).map(([name, text]) => make("div", { class: "file" },
    Object.keys(data.files).length > 1 ? make("h3", {}, name) : null,
    ...text.split("\n").map((line, i) => {
      const place = `${name}:${i + 1}`, share = shares.get(place);
      const is = `row${chosen.has(place) || at.line === place ? " chosen" : ""}${known.has(place) ? "" : " quiet"}`;
      const inside = [make("span", { class: "n" }, i + 1), make("span", { class: "heat", style: percent(share ?? 0, most), title: share ? `${percent(share, whole)} of the bytes` : null }), make("code", {}, line || " ")];
      return known.has(place) ? make("button", { class: is, "data-place": place, onclick: () => showLine(place) }, ...inside) : make("div", { class: is, "data-place": place }, ...inside);
    }))));
}

function showLine(place) {
  const first = launches().find((launch) => placesOf(launch.region).has(place));
  go({ line: place, kernel: first?.kernel ?? at.kernel, tab: "ops" }, "launches");
}

const shortName = (name) => name.replace(/_[0-9a-f]{8}(?=_|$)/, "");

function opsOf(launch) {
  if (launch.task) return launch.task.replace(/ \w+_[0-9a-f]{8}$/, " the region");
  const region = plan().regions[launch.region];
  return region ? region.ops.map((op) => op.kind).join(" · ") : plan().kernels[launch.kernel]?.does ?? "";
}

function drawLaunches() {
  const all = launches(), bytes = all.reduce((n, l) => n + l.bytes * l.times, 0), most = Math.max(...all.map((l) => l.bytes * l.times), 1);
  const rows = program().rows;
  $("total").textContent = `${program().count} launches, ${amount(bytes, "B")} for ${rows} row${rows > 1 ? "s" : ""}`;
  const row = (launch, times) => {
    const isNear = at.line && placesOf(launch.region).has(at.line);
    const kernel = plan().kernels[launch.kernel];
    return make("button", { class: `launch${launch.kernel === at.kernel ? " chosen" : ""}${isNear ? " near" : ""}`, "data-kernel": launch.kernel, onclick: () => go({ kernel: launch.kernel, line: null }, "kernel") },
      make("span", { class: `stem ${plan().regions[launch.region]?.stem ?? ""}` }, plan().regions[launch.region]?.stem ?? shortName(launch.kernel).split("_")[0]),
      make("b", {}, ...shortName(launch.kernel).split("_").flatMap((word, i) => (i ? ["_", make("wbr"), word] : [word]))),
      make("span", { class: "ops" }, opsOf(launch)),
      make("span", { class: "amount" }, [launch.bytes ? amount(launch.bytes, "B") : "", kernel?.resources.occupancy ? `${kernel.resources.occupancy} waves` : ""].filter(Boolean).join(", ")),
      make("span", { class: "share", style: percent(launch.bytes * times, most) }));
  };
  $("launches").querySelector(".body").replaceChildren(...program().groups.map((group) => make("div", { class: "group" },
    group.times > 1 ? make("p", {}, make("span", {}, `${group.times} times`), make("span", {}, `${group.launches.length} launches each`)) : null,
    ...group.launches.map((launch) => row(launch, group.times)))));
}

function gauge(name, value, of, tone, unit = "") {
  const share = of ? percent(Math.min(value, of), of) : "0%";
  return make("div", { class: `gauge ${tone ?? ""}` }, make("span", {}, name), make("b", {}, String(value), make("small", {}, of ? ` of ${of}${unit}` : unit)), of ? make("i", { style: share }) : null);
}

const tone = (share) => (share > 0.5 ? "good" : share > 0.25 ? "fair" : "poor");

function gauges(kernel, launch) {
  const used = kernel.resources, limits = plan().limits, found = [];
  if (used.occupancy) {
    found.push(gauge("Waves a SIMD", used.occupancy, limits.waves, tone(used.occupancy / limits.waves)));
    found.push(gauge("Vector registers", used.vgprs, used.vgprs > 256 ? 512 : 256), gauge("Scalar registers", used.sgprs, 106));
    if (used.agprs) found.push(gauge("Accumulators", used.agprs, 256));
  }
  if (used.lds_bytes !== undefined) found.push(gauge("LDS, bytes", used.lds_bytes, limits.lds));
  if (used.scratch_bytes || used.spills) found.push(gauge("Scratch", used.scratch_bytes, null, "poor", " B"));
  if (launch) {
    if (launch.block) found.push(gauge("Thread block", launch.block, null, null, " threads"), gauge("Grid", launch.blocks.filter((n, i) => i === 0 || n > 1).join(" × "), null, null, " blocks"));
    if (launch.bytes) found.push(gauge("Must move", amount(launch.bytes, "B")));
    if (launch.flops) found.push(gauge("Must compute", amount(launch.flops, "FLOP")));
  }
  return make("div", { class: "gauges" }, ...found);
}

function drawKernel() {
  const kernel = plan().kernels[at.kernel];
  if (!kernel) {
    $("kernel").replaceChildren(make("p", { class: "empty" }, at.kernel ? `${at.kernel} is a library's: there is no source to show.` : "Choose a line of the model or a launch."));
    return;
  }
  const region = plan().regions[kernel.region], launch = launches().find((l) => l.kernel === at.kernel);
  const others = region ? region.kernels.filter((name) => name !== at.kernel) : [];
  const tabs = { ops: "Ops", why: "Why", source: "Source", asm: "Assembly" };
  $("kernel").replaceChildren(
    make("div", { class: "title" }, make("h3", {}, at.kernel),
      make("p", {}, region ? `${region.stem} skeleton, serves ${region.count} equal region${region.count > 1 ? "s" : ""}` : kernel.does),
      others.length ? make("p", {}, "Same region: ", ...others.flatMap((name, i) => [make("button", { onclick: () => go({ kernel: name }) }, shortName(name) + (i + 1 < others.length ? "," : "")), " "])) : null),
    gauges(kernel, launch),
    make("div", { class: "tabs", role: "tablist" }, ...Object.entries(tabs).map(([name, title]) => make("button", { role: "tab", "aria-selected": at.tab === name, onclick: () => go({ tab: name }) }, title))),
    make("div", { class: "body", tabindex: 0 }, ...tab(kernel, region)));
}

function tab(kernel, region) {
  if (at.tab === "why") return [make("pre", { class: "wrapped" }, kernel.why)];
  if (at.tab === "source") return sourceOf(kernel.source);
  if (at.tab === "asm") return [assembly(kernel.asm)];
  if (!region) return [make("p", { class: "empty" }, kernel.does)];
  return [make("pre", { class: "wrapped ops" }, make("span", { class: "l" }, region.head), ...region.ops.map((op) =>
    make("button", { class: `op${op.at && at.line === `${op.at[0]}:${op.at[1]}` ? " l at" : ""}`, title: op.at ? `line ${op.at[1]} of ${op.at[0]}` : null, onclick: () => op.at && go({ line: `${op.at[0]}:${op.at[1]}` }, "source") },
      make("span", { class: "place" }, String(op.at?.[1] ?? "").padStart(5)), `  ${op.text}`)), make("span", { class: "l" }, "}"))];
}

// The kernel itself, and folded away above it what stands in front: headers, loaders of formats, device functions.
function sourceOf(text) {
  const begin = Math.max(0, text.search(/^extern "C" __global__/m)), head = text.slice(0, begin).trim();
  const folded = head && make("details", {}, make("summary", {}, `${head.split("\n").length} lines in front of it: headers, loaders of formats, device functions`), make("pre", {}, head));
  return [folded, make("pre", {}, text.slice(begin).trim())].filter(Boolean);
}

const KINDS = [["matrix", /^v_(wmma|mfma|swmmac|dot)|^(mma|wgmma|dp4a)|^vpdp/], ["lds", /^ds_|shared/], ["memory", /^(global|flat|buffer|scratch|s_load|s_buffer)_?|^(ld|st)\.|mov[a-z]*ps|^vmovdq|^vmovu/], ["branch", /^s_c?branch|^s_endpgm|^j[a-z]+$|^bra|^ret/]];

function assembly(text) {
  const lines = text.split("\n"), labels = new Map(), inLoop = new Uint8Array(lines.length);
  lines.forEach((line, i) => {
    const label = line.match(/^(\.?\$?L?\w*BB\w+):/), branch = line.match(/\b(?:s_c?branch\w*|bra(?:\.uni)?|j[a-z]+)\s+(\.?\$?\w+)/);
    if (label) labels.set(label[1], i);
    else if (branch && labels.has(branch[1])) inLoop.fill(1, labels.get(branch[1]), i + 1);
  });
  return make("pre", {}, ...lines.map((line, i) => {
    const word = line.trim().split(/\s/)[0], remark = /^[;#]|^\/\//.test(line);
    const kind = remark ? "remark" : /^\S+:/.test(line) ? "label" : KINDS.find(([, pattern]) => pattern.test(word))?.[0] ?? "";
    return make("span", { class: `l ${kind}${inLoop[i] ? " loop" : ""}` }, line || " ");
  }));
}

// Everything that can be found: [what it is, text, where it is shown].
function* everything() {
  for (const [name, text] of Object.entries(data.files))
    for (const [i, line] of text.split("\n").entries()) yield ["Model file", line.trim(), `${name}:${i + 1}`, () => go({ line: `${name}:${i + 1}` }, "source")];
  for (const [name, kernel] of Object.entries(plan().kernels)) {
    const show = (tab, text) => () => { go({ kernel: name, tab, ...whereRuns(name) }, "kernel"); point(text); };
    yield ["Kernels", name, plan().regions[kernel.region]?.stem ?? "", show("ops")];
    for (const op of plan().regions[kernel.region]?.ops ?? []) yield ["Ops", op.text, shortName(name), show("ops", op.text)];
    for (const line of kernel.asm.split("\n")) yield ["Assembly", line.trim(), shortName(name), show("asm", line)];
    for (const line of kernel.source.split("\n")) yield ["Source", line.trim(), shortName(name), show("source", line)];
  }
}

function whereRuns(kernel) {
  const runs = (p) => p.groups.some((group) => group.launches.some((launch) => launch.kernel === kernel));
  return { program: runs(program()) ? at.program : Math.max(0, plan().programs.findIndex(runs)) };
}

function search(words) {
  const box = $("found"), wanted = words.toLowerCase().trim();
  box.hidden = wanted.length < 2;
  if (box.hidden) return;
  const groups = new Map(), seen = new Set();
  for (const [kind, text, place, show] of everything()) {
    if (!text.toLowerCase().includes(wanted) && !(kind === "Kernels" && place.includes(wanted))) continue;
    const group = groups.get(kind) ?? groups.set(kind, { rows: [], count: 0 }).get(kind);
    group.count += 1;
    const key = `${kind} ${text} ${place}`;
    if (group.rows.length < 8 && !seen.has(key)) { seen.add(key); group.rows.push([text, place, show]); }
  }
  box.replaceChildren(...(groups.size ? [...groups].flatMap(([kind, group]) => [make("h4", {}, `${kind} (${group.count})`), ...group.rows.map(([text, place, show]) =>
    make("button", { onclick: () => { box.hidden = true; show(); } }, make("code", {}, ...marked(text, wanted)), make("span", {}, place)))]) : [make("p", { class: "empty" }, "Nothing found.")]));
}

function marked(text, wanted) {
  const i = text.toLowerCase().indexOf(wanted);
  return i < 0 ? [text] : [text.slice(0, i), make("mark", {}, text.slice(i, i + wanted.length)), text.slice(i + wanted.length)];
}

function point(text) {
  if (!text) return;
  const line = [...$("kernel").querySelectorAll("pre .l, pre .op")].find((node) => node.textContent.includes(text.trim()));
  if (line) { line.classList.add("at"); line.scrollIntoView({ block: "center" }); return; }
  const pre = [...$("kernel").querySelectorAll("pre")].at(-1), lines = pre?.textContent.split("\n") ?? [], i = lines.findIndex((l) => l.includes(text.trim()));
  if (i >= 0) { const body = pre.closest(".body"); body.scrollTop = pre.offsetTop + (i / lines.length) * pre.scrollHeight - body.offsetTop - body.clientHeight / 2; }
}

function go(change, pane) {
  Object.assign(at, change);
  if (!plan().kernels[at.kernel] && at.kernel === null) at.kernel = heaviest();
  if (pane) $("panes").parentNode.querySelector("main").dataset.pane = pane;
  draw();
  const hash = new URLSearchParams({ arch: plan().arch, program: program().name, kernel: at.kernel ?? "", tab: at.tab, ...(at.line ? { line: at.line } : {}) });
  history.replaceState(null, "", `#${hash}`);
}

function heaviest() {
  return launches().reduce((best, l) => (l.bytes * l.times > (best ? best.bytes * best.times : -1) ? l : best), null)?.kernel ?? null;
}

function draw() {
  const scrolls = ["source", "launches"].map((id) => $(id).querySelector(".body").scrollTop);
  drawHeader(); drawSource(); drawLaunches(); drawKernel();
  ["source", "launches"].forEach((id, i) => { $(id).querySelector(".body").scrollTop = scrolls[i]; });
  for (const button of $("panes").children) button.setAttribute("aria-selected", button.dataset.pane === document.querySelector("main").dataset.pane);
  for (const [id, selector] of [["source", at.line ? `[data-place="${at.line}"]` : ".row.chosen"], ["launches", ".launch.chosen"]]) {
    const node = $(id).querySelector(selector), body = $(id).querySelector(".body");
    if (node && body.clientHeight && (node.offsetTop < body.scrollTop + body.offsetTop || node.offsetTop > body.scrollTop + body.offsetTop + body.clientHeight - node.offsetHeight))
      body.scrollTop = node.offsetTop - body.offsetTop - body.clientHeight / 3;
  }
}

function unfolded(runs) {
  const lines = [];
  for (let i = 0; i < runs.length; i += 2) for (let n = 0; n < runs[i + 1]; n++) lines.push(data.lines[runs[i] + n]);
  return lines.join("\n");
}

async function start() {
  const bytes = Uint8Array.from(atob($("data").textContent), (c) => c.charCodeAt(0));
  data = JSON.parse(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).text());
  for (const kernel of data.plans.flatMap((p) => Object.values(p.kernels)))
    for (const name of ["source", "asm"]) kernel[name] = unfolded(kernel[name]);
  const wanted = new URLSearchParams(location.hash.slice(1));
  at.plan = Math.max(0, data.plans.findIndex((p) => p.arch === wanted.get("arch")));
  at.program = Math.max(0, plan().programs.findIndex((p) => p.name === wanted.get("program")));
  $("search").addEventListener("input", (event) => search(event.target.value));
  $("search").addEventListener("keydown", (event) => { if (event.key === "Enter") $("found").querySelector("button")?.click(); });
  for (const button of $("panes").children) button.addEventListener("click", () => go({}, button.dataset.pane));
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== $("search")) { event.preventDefault(); $("search").focus(); }
    if (event.key === "Escape") { $("found").hidden = true; $("search").blur(); }
  });
  document.addEventListener("click", (event) => { if (!event.target.closest("#found, .search")) $("found").hidden = true; });
  go({ kernel: plan().kernels[wanted.get("kernel")] ? wanted.get("kernel") : null, tab: wanted.get("tab") || "ops", line: wanted.get("line") });
}
start();
