// Chats kept in this browser: {id, title, messages}, the latest first.

const KEY = "hfc.chats";
const MOST = 50;

export function load() {
  try {
    const found = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(found) ? found.filter((c) => c.id && Array.isArray(c.messages)) : [];
  } catch {
    return [];
  }
}

export function save(chat) {
  const others = load().filter((c) => c.id !== chat.id);
  const title = chat.messages.find((m) => m.role === "user")?.content.slice(0, 60) ?? "";
  let kept = chat.messages.length ? [{ ...chat, title }, ...others].slice(0, MOST) : others;
  for (;;) {
    try {
      localStorage.setItem(KEY, JSON.stringify(kept));
      return;
    } catch {
      if (!kept.length) return; // a browser that stores nothing
      kept = kept.slice(0, -1);
    }
  }
}

export function remove(id) {
  localStorage.setItem(KEY, JSON.stringify(load().filter((c) => c.id !== id)));
}
