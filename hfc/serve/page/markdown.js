// Markdown of a model as elements: parsed by marked, sanitized by DOMPurify; HTML that the model writes stays text.

const { marked } = globalThis.marked;
const escape = (text) => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

marked.use({
  gfm: true,
  breaks: true,
  renderer: {
    html: ({ text }) => escape(text),
    image: ({ text, href }) => escape(text || href), // nothing is asked of other hosts
  },
});

const ALLOWED = {
  ALLOWED_TAGS: "p br strong em del code pre h1 h2 h3 h4 h5 h6 ul ol li blockquote hr table thead tbody tr th td a input".split(" "),
  ALLOWED_ATTR: ["href", "title", "class", "align", "start", "type", "checked", "disabled"],
  RETURN_DOM_FRAGMENT: true,
};

export function render(into, text) {
  const fragment = globalThis.DOMPurify.sanitize(marked.parse(text), ALLOWED);
  for (const link of fragment.querySelectorAll("a")) {
    link.rel = "noopener noreferrer";
    link.target = "_blank";
  }
  for (const pre of fragment.querySelectorAll("pre")) pre.prepend(copyButton(() => pre.querySelector("code").textContent));
  into.replaceChildren(fragment);
}

export function copyButton(text) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await copy(text());
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  return button;
}

// Without TLS browsers have the clipboard's interface on this machine only; a page of another one selects and copies.
async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
