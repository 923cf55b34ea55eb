// The chat page: streams /v1/chat/completions, shows thoughts and tool calls apart, and reads the meters from /ready.

const at = (id) => document.getElementById(id);
const history = [];
let running = null; // AbortController of the answer that streams

function headers() {
  const key = at("key").value;
  return { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
}

function block(role, text = "") {
  const article = document.createElement("article");
  article.className = role;
  article.textContent = text;
  at("chat").append(article);
  article.scrollIntoView({ block: "end" });
  return article;
}

function answerBlock() {
  const article = block("assistant");
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  const thought = document.createElement("div");
  const content = document.createElement("div");
  const calls = document.createElement("div");
  summary.textContent = "Thought";
  details.append(summary, thought);
  details.hidden = true;
  article.append(details, content, calls);
  const shown = [];
  return {
    reasoning(text) { details.hidden = false; thought.textContent += text; },
    content(text) { content.textContent += text; },
    call(delta) {
      const call = (shown[delta.index] ??= { id: "", name: "", arguments: "", pre: calls.appendChild(document.createElement("pre")) });
      call.id ||= delta.id ?? "";
      call.name ||= delta.function.name ?? "";
      call.arguments += delta.function.arguments ?? "";
      call.pre.textContent = `${call.name}(${call.arguments})`;
    },
    calls: shown,
    get text() { return content.textContent; },
  };
}

function request() {
  const body = { model: at("model").value, messages: [], stream: true, stream_options: { include_usage: true } };
  if (at("system").value) body.messages.push({ role: "system", content: at("system").value });
  body.messages.push(...history);
  for (const id of ["temperature", "top_p", "max_completion_tokens", "seed"]) {
    if (at(id).value !== "") body[id] = Number(at(id).value);
  }
  if (at("reasoning_effort").value) body.reasoning_effort = at("reasoning_effort").value;
  if (at("tools").value.trim()) body.tools = JSON.parse(at("tools").value);
  return body;
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    const lines = held.split("\n");
    held = lines.pop();
    for (const line of lines) {
      if (line === "data: [DONE]") return;
      if (line.startsWith("data: ")) yield JSON.parse(line.slice(6));
    }
  }
}

async function answer() {
  running = new AbortController();
  at("send").disabled = true;
  at("stop").disabled = false;
  const shown = answerBlock();
  const began = performance.now();
  let first = null, chunks = 0;
  try {
    const response = await fetch("v1/chat/completions", { method: "POST", headers: headers(), body: JSON.stringify(request()), signal: running.signal });
    if (!response.ok) throw new Error((await response.json()).error.message);
    for await (const event of events(response)) {
      if (event.error) throw new Error(event.error.message);
      const delta = event.choices[0]?.delta ?? {};
      if (delta.reasoning_content) shown.reasoning(delta.reasoning_content);
      if (delta.content) shown.content(delta.content);
      for (const call of delta.tool_calls ?? []) shown.call(call);
      if (delta.content || delta.reasoning_content || delta.tool_calls) {
        first ??= performance.now();
        chunks += 1;
      }
      speed(began, first, event.usage ? event.usage.completion_tokens : chunks, event.usage);
    }
  } catch (error) {
    if (error.name !== "AbortError") block("error", error.message);
  } finally {
    remember(shown);
    running = null;
    at("send").disabled = false;
    at("stop").disabled = true;
    meters();
  }
}

// A call is answered by the user: the page runs no code.
function remember(shown) {
  const calls = shown.calls.filter(Boolean);
  if (!shown.text && !calls.length) return;
  const message = { role: "assistant", content: shown.text };
  if (calls.length) {
    message.tool_calls = calls.map((c) => ({ id: c.id, type: "function", function: { name: c.name, arguments: c.arguments } }));
  }
  history.push(message);
}

function speed(began, first, tokens, usage) {
  if (first === null) return;
  const seconds = (performance.now() - first) / 1000;
  const rate = tokens > 1 && seconds > 0 ? ((tokens - 1) / seconds).toFixed(1) : "-";
  const cached = usage ? `, ${usage.prompt_tokens_details.cached_tokens} of ${usage.prompt_tokens} prompt tokens from the cache` : "";
  at("speed").textContent = `${tokens} tokens, ${rate} tok/s, first after ${Math.round(first - began)} ms${cached}`;
}

async function meters() {
  try {
    const state = await (await fetch("ready")).json();
    const now = state.models[at("model").value] ?? Object.values(state.models)[0];
    if (!now) return;
    at("slots").value = now.slots_busy / now.slots;
    at("slots-text").textContent = `${now.slots_busy}/${now.slots}`;
    at("kv").value = now.kv_tokens / now.kv_capacity;
    at("kv-text").textContent = `${now.kv_tokens}/${now.kv_capacity}`;
    at("cache-text").textContent = `${(now.cache_bytes / 1e6).toFixed(1)} MB`;
    at("queue-text").textContent = `${now.queue}/${now.queue_limit}`;
  } catch {
    at("slots-text").textContent = "no answer";
  }
}

async function models() {
  const response = await fetch("v1/models", { headers: headers() });
  if (!response.ok) return;
  at("model").replaceChildren(...(await response.json()).data.map((m) => new Option(m.state === "loaded" ? m.id : `${m.id} (${m.state})`, m.id)));
}

at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = at("prompt").value.trim();
  if (!text || running) return;
  at("prompt").value = "";
  const open = history.at(-1)?.tool_calls;
  // After calls, what the user writes is their result.
  if (open) for (const call of open) history.push({ role: "tool", tool_call_id: call.id, content: text });
  else history.push({ role: "user", content: text });
  block("user", text);
  answer();
});
at("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    at("form").requestSubmit();
  }
});
at("stop").addEventListener("click", () => running?.abort());
at("clear").addEventListener("click", () => {
  running?.abort();
  history.length = 0;
  at("chat").replaceChildren();
});
at("key").addEventListener("change", models);
models();
meters();
setInterval(meters, 2000);
