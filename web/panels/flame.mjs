/**
 * A flame graph: a box for each call, as wide as its share, under its caller.
 *
 * Takes Profile.tree() of Python: {name, value, children}.  A click, or Enter,
 * makes a box the whole width; a click on the first row goes back.
 */

const ROW = 18;
const LEAST = 0.0015; // of the width; what is narrower can't be seen
const SVG = "http://www.w3.org/2000/svg";

/** @typedef {{name: string, value: number, children: Node[]}} Node */

/**
 * @param {Node} tree
 * @param {(text: string) => void} told hears of the box that is pointed at
 * @returns {SVGSVGElement}
 */
export function flameGraph(tree, told) {
  const svg = document.createElementNS(SVG, "svg");
  svg.classList.add("flame");
  svg.setAttribute("role", "group");
  svg.setAttribute("aria-label", "Flame graph");
  /** @param {Node} node */
  const zoom = (node) => {
    /** @type {SVGElement[]} */
    const boxes = [];
    const deepest = place(node, 0, 1, 0, boxes);
    svg.setAttribute("height", String((deepest + 1) * ROW));
    svg.replaceChildren(...boxes);
  };

  /**
   * @param {Node} node
   * @param {number} left
   * @param {number} width both as parts of 1
   * @param {number} row
   * @param {SVGElement[]} boxes
   * @returns {number} the deepest row
   */
  function place(node, left, width, row, boxes) {
    boxes.push(box(node, left, width, row));
    let deepest = row;
    for (const child of node.children) {
      const part = (width * child.value) / (node.value || 1);
      if (part >= LEAST) deepest = Math.max(deepest, place(child, left, part, row + 1, boxes));
      left += part;
    }
    return deepest;
  }

  /**
   * @param {Node} node
   * @param {number} left
   * @param {number} width
   * @param {number} row
   */
  function box(node, left, width, row) {
    const share = `${((100 * node.value) / (tree.value || 1)).toFixed(1)} %`;
    const text = `${node.name} – ${share}, ${node.value} samples`;
    const group = document.createElementNS(SVG, "svg"); // clips its label
    for (const [name, value] of Object.entries({ x: `${100 * left}%`, width: `${100 * width}%`, y: row * ROW, height: ROW })) {
      group.setAttribute(name, String(value));
    }
    group.setAttribute("tabindex", "0");
    group.setAttribute("role", "button");
    group.setAttribute("aria-label", text);
    const rect = document.createElementNS(SVG, "rect");
    rect.setAttribute("width", "100%");
    rect.setAttribute("height", String(ROW - 1));
    rect.classList.add(node.name.endsWith("_[k]") ? "kernel" : row ? "program" : "all");
    rect.style.setProperty("--shade", String(hash(node.name)));
    group.append(rect);
    if (width > 0.03) {
      const label = document.createElementNS(SVG, "text");
      label.setAttribute("x", "4");
      label.setAttribute("y", String(ROW - 5));
      label.textContent = node.name.replace("_[k]", "");
      group.append(label);
    }
    const title = document.createElementNS(SVG, "title");
    title.textContent = text;
    group.append(title);
    const act = () => zoom(row ? node : tree);
    group.addEventListener("click", act);
    group.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        act();
      }
    });
    for (const kind of ["pointerenter", "focus"]) group.addEventListener(kind, () => told(text));
    return group;
  }

  zoom(tree);
  return svg;
}

/** A number from 0 to 1 for a name, always the same. @param {string} name */
function hash(name) {
  let value = 7;
  for (const letter of name) value = (value * 31 + letter.charCodeAt(0)) >>> 0;
  return (value % 97) / 97;
}
