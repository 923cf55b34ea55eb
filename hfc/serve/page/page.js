// The chat page: streams /v1/chat/completions, shows thoughts and tool calls apart, keeps chats, and reads the meters from /ready.

import { copyButton, render } from "./page/markdown.js";
import * as chats from "./page/chats.js";

const at = (id) => document.getElementById(id);
const newChat = () => ({ id: crypto.randomUUID?.() ?? String(Date.now() + Math.random()), messages: [] });
let chat = newChat(); // what the server has answered and what it shall answer; a failed message is not in it
let running = null; // AbortController of the answer that streams

function headers() {
  const key = at("key").value;
  return { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
}

function notice(text) {
  at("notice").textContent = text;
  at("notice").hidden = !text;
}

// The page follows its end while the reader is there, and stays where they have scrolled to.
const isAtEnd = () => innerHeight + scrollY >= document.documentElement.scrollHeight - 80;
const follow = (was) => { if (was) scrollTo(0, document.documentElement.scrollHeight); };

function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

function button(text, does) {
  const made = make("button", "", text);
  made.type = "button";
  made.addEventListener("click", does);
  return made;
}

function block(role, text = "") {
  const was = isAtEnd();
  const article = make("article", role, text);
  at("chat").append(article);
  follow(was || role === "user");
  return article;
}

function userBlock(text, index) {
  const article = block("user");
  article.append(make("div", "content", text));
  const actions = make("span", "actions");
  actions.append(button("Edit", () => edit(index)));
  article.append(actions);
}

function answerBlock() {
  const article = block("assistant");
  const [details, thought, content, calls] = ["details", "div", "div", "div"].map((tag) => make(tag));
  details.append(make("summary", "", "Thought"), thought);
  content.className = "content";
  details.hidden = true;
  article.append(details, content, calls);
  const shown = [];
  let text = "", drawn = 0;
  const draw = () => { const was = isAtEnd(); drawn = 0; render(content, text); follow(was); };
  return {
    reasoning(more) { const was = isAtEnd(); details.hidden = false; thought.textContent += more; follow(was); },
    content(more) { text += more; drawn ||= requestAnimationFrame(draw); },
    call(delta) {
      const call = (shown[delta.index] ??= { id: "", name: "", arguments: "", pre: calls.appendChild(document.createElement("pre")) });
      call.id ||= delta.id ?? "";
      call.name ||= delta.function.name ?? "";
      call.arguments += delta.function.arguments ?? "";
      call.pre.textContent = `${call.name}(${call.arguments})`;
    },
    end(speedText, index) {
      const was = isAtEnd();
      if (drawn) cancelAnimationFrame(drawn);
      draw();
      const actions = make("div", "actions");
      actions.append(copyButton(() => text));
      if (index !== null) actions.append(button("Regenerate", () => regenerate(index)));
      if (speedText) actions.append(make("span", "", speedText));
      article.append(actions);
      follow(was);
    },
    drop() { article.remove(); },
    calls: shown,
    get text() { return text; },
  };
}

function request() {
  const body = { model: at("model").value, messages: [], stream: true, stream_options: { include_usage: true } };
  if (at("system").value) body.messages.push({ role: "system", content: at("system").value });
  body.messages.push(...chat.messages);
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

// sent: how many messages the history loses again when the request fails.
async function answer(sent) {
  running = new AbortController();
  at("send").disabled = true;
  at("stop").disabled = false;
  const shown = answerBlock(), began = performance.now(), asked = chat;
  let first = null, chunks = 0, said = "", failed = false;
  try {
    const response = await fetch("v1/chat/completions", { method: "POST", headers: headers(), body: JSON.stringify(request()), signal: running.signal });
    if (!response.ok) throw new Error(await reason(response));
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
      said = speed(began, first, event.usage ? event.usage.completion_tokens : chunks, event.usage);
    }
  } catch (error) {
    failed = error.name !== "AbortError";
    if (failed) block("error", error.message);
  } finally {
    const index = failed ? null : remember(asked, shown);
    if (failed && !shown.text) {
      asked.messages.splice(asked.messages.length - sent, sent);
      shown.drop();
    } else shown.end(said, index);
    running = null;
    at("send").disabled = false;
    at("stop").disabled = true;
    keep();
    meters();
  }
}

async function reason(response) {
  const text = await response.text();
  if (response.status === 401) notice("This server needs an API key: enter it under Settings.");
  try {
    return JSON.parse(text).error.message;
  } catch {
    return text || `the server answered ${response.status}`;
  }
}

// A call is answered by the user: the page runs no code. Gives the answer's place in the history.
function remember(asked, shown) {
  const calls = shown.calls.filter(Boolean);
  if (!shown.text && !calls.length) return null;
  const message = { role: "assistant", content: shown.text };
  if (calls.length) {
    message.tool_calls = calls.map((c) => ({ id: c.id, type: "function", function: { name: c.name, arguments: c.arguments } }));
  }
  return asked.messages.push(message) - 1;
}

function speed(began, first, tokens, usage) {
  if (first === null) return "";
  const seconds = (performance.now() - first) / 1000;
  const rate = tokens > 1 && seconds > 0 ? `${((tokens - 1) / seconds).toFixed(1)} tok/s, ` : "";
  const cached = usage ? `, ${usage.prompt_tokens_details.cached_tokens} of ${usage.prompt_tokens} prompt tokens from the cache` : "";
  return (at("speed").textContent = `${tokens} tokens, ${rate}first after ${Math.round(first - began)} ms${cached}`);
}

function regenerate(index) {
  if (running) return;
  chat.messages.length = index;
  draw();
  answer(0);
}

function edit(index) {
  if (running) return;
  at("prompt").value = chat.messages[index].content;
  chat.messages.length = index;
  draw();
  at("prompt").focus();
}

// The whole chat again, from its history.
function draw() {
  at("chat").replaceChildren();
  chat.messages.forEach((message, index) => {
    if (message.role === "user" || message.role === "tool") userBlock(message.content, index);
    else {
      const shown = answerBlock();
      shown.content(message.content);
      for (const [i, call] of (message.tool_calls ?? []).entries()) shown.call({ index: i, ...call });
      shown.end("", index);
    }
  });
}

function keep() {
  chats.save(chat);
  list();
}

function list() {
  const stored = chats.load();
  at("chats").replaceChildren(new Option("Chats", ""), ...stored.map((c) => new Option(c.title, c.id, false, c.id === chat.id)));
}

function show(found) {
  running?.abort();
  chat = found;
  draw();
  list();
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
  if (!response.ok) {
    await reason(response);
    return;
  }
  notice("");
  at("model").replaceChildren(...(await response.json()).data.map((m) => new Option(m.state === "loaded" ? m.id : `${m.id} (${m.state})`, m.id)));
}

at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = at("prompt").value.trim();
  if (!text || running) return;
  at("prompt").value = "";
  const open = chat.messages.at(-1)?.tool_calls;
  // After calls, what the user writes is their result.
  const sent = open ? open.map((call) => ({ role: "tool", tool_call_id: call.id, content: text })) : [{ role: "user", content: text }];
  chat.messages.push(...sent);
  userBlock(text, chat.messages.length - sent.length);
  answer(sent.length);
});
at("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    at("form").requestSubmit();
  }
});
at("stop").addEventListener("click", () => running?.abort());
at("clear").addEventListener("click", () => show(newChat()));
at("delete").addEventListener("click", () => {
  chats.remove(chat.id);
  show(newChat());
});
at("chats").addEventListener("change", () => {
  const found = chats.load().find((c) => c.id === at("chats").value);
  if (found) show(found);
});
at("key").addEventListener("change", models);
list();
models();
meters();
setInterval(meters, 2000);
