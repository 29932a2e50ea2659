// Building of elements: text goes in as text only, never as markup.

function el(tag, options = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "text") made.textContent = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((each) => each !== null && each !== undefined));
  return made;
}

function button(label, title, onclick, options = {}) {
  return el("button", { type: "button", title, "aria-label": title, text: label, onclick, ...options });
}

// Build the content of an element anew if what it shows, `key`, has changed: focus and selection in it stay otherwise.
function redraw(element, key, build) {
  const shown = JSON.stringify(key);
  if (element.shownKey === shown) return;
  element.shownKey = shown;
  element.replaceChildren(...build());
}

// Fill an element with text in which the places of `query` are marked.
function marked(target, text, query) {
  target.replaceChildren();
  if (!query) {
    target.textContent = text;
    return;
  }
  const low = text.toLowerCase();
  let from = 0;
  for (let at = low.indexOf(query); at >= 0 && from < text.length; at = low.indexOf(query, from)) {
    target.append(text.slice(from, at), el("mark", { text: text.slice(at, at + query.length) }));
    from = at + query.length;
  }
  target.append(text.slice(from));
}

const CIVIDIS = [
  [0, 34, 78], [26, 56, 111], [67, 78, 108], [97, 101, 111], [125, 124, 120],
  [155, 148, 118], [188, 174, 108], [222, 201, 88], [254, 232, 56],
];

// Colour of a score in [0, 1], dark blue to yellow, and the ink that can be read on it.
function scoreColour(score) {
  const place = Math.min(1, Math.max(0, score)) * (CIVIDIS.length - 1);
  const low = Math.min(Math.floor(place), CIVIDIS.length - 2);
  const mixed = CIVIDIS[low].map((part, index) => Math.round(part + (CIVIDIS[low + 1][index] - part) * (place - low)));
  const [red, green, blue] = mixed.map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  const light = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  return { fill: `rgb(${mixed.join(",")})`, ink: (light + 0.05) ** 2 > 0.05 * 1.05 ? "#000" : "#fff" };
}

function number(value, digits = 0) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "-";
  if (Math.abs(value) >= 1e9) return value.toExponential(2);
  return value.toLocaleString("en", { maximumFractionDigits: digits });
}

function words(name) {
  return String(name ?? "").replaceAll("_", " ");
}

// A bar with its share and label; the label says all, so the bar itself is hidden from screen readers.
function bar(share, kind = "") {
  const filled = el("span", { class: "filled" });
  filled.style.width = `${Math.max(0, Math.min(1, share || 0)) * 100}%`;
  return el("span", { class: `bar ${kind}`, "aria-hidden": "true" }, filled);
}
