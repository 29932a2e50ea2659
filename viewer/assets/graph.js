// Drawing of a whole tree as dots on a canvas: its shape, scores and winning path. The outline says the same in words.

const DRAG_PX = 4;
const MOST_ZOOM = 64;

class Graph {
  constructor(onSelect) {
    this.onSelect = onSelect;
    this.zoom = 1;
    this.left = 0;
    this.top = 0;
    this.canvas = el("canvas", {
      class: "graph",
      role: "img",
      title: "Wheel: zoom. Drag: move. Double click: whole tree.",
      onpointerdown: (event) => this.press(event),
      onpointermove: (event) => this.drag(event),
      onpointerup: (event) => this.release(event),
      ondblclick: () => this.reset(),
    });
    this.canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  show(run, limit, selected, matches) {
    Object.assign(this, { run, limit, selected, matches });
    const { steps, finished, pruned } = run.facts;
    this.canvas.setAttribute("aria-label", `Drawing of the tree: ${steps} steps, ${finished} finished, ${pruned} pruned`);
    this.draw();
  }

  reset() {
    Object.assign(this, { zoom: 1, left: 0, top: 0 });
    this.draw();
  }

  draw() {
    const { canvas, run } = this;
    if (!run || !canvas.clientWidth) return;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const style = getComputedStyle(canvas);
    const colour = (name) => style.getPropertyValue(name).trim();
    this.place(width, height);
    const { x, y } = this;
    const { tree, winning } = run;
    const done = this.limit >= tree.size;
    const inView = (id) => x[id] > -20 && x[id] < width + 20 && y[id] > -20 && y[id] < height + 20;
    const lines = (wanted, stroke, thickness) => {
      context.beginPath();
      for (let id = 1; id < this.limit; id++) {
        const parent = tree.nodes[id].parent;
        if (!wanted(id) || !(inView(id) || inView(parent))) continue;
        context.moveTo(x[parent], y[parent]);
        context.lineTo(x[id], y[id]);
      }
      context.strokeStyle = stroke;
      context.lineWidth = thickness;
      context.stroke();
    };
    tree.settle();
    lines((id) => tree.dead[id], colour("--faint"), 0.6);
    lines((id) => !tree.dead[id], colour("--edge"), 1);
    if (done) lines((id) => winning.has(id), colour("--win"), 2.5);
    for (let id = 0; id < this.limit; id++) {
      if (!inView(id)) continue;
      const node = tree.nodes[id];
      const radius = this.radius * (tree.dead[id] ? 0.7 : 1);
      context.beginPath();
      context.arc(x[id], y[id], radius, 0, 7);
      context.fillStyle = node.score == null ? colour("--back") : scoreColour(node.score).fill;
      context.fill();
      if (node.score == null || node.state === "finished" || this.matches.has(id)) {
        context.strokeStyle = this.matches.has(id) ? colour("--match") : done && winning.has(id) ? colour("--win") : colour("--ink");
        context.lineWidth = this.matches.has(id) ? 2.5 : 1;
        context.stroke();
      }
    }
    if (this.selected !== null && this.selected < this.limit) {
      context.beginPath();
      context.arc(x[this.selected], y[this.selected], this.radius + 4, 0, 7);
      context.strokeStyle = colour("--focus");
      context.lineWidth = 2;
      context.stroke();
    }
  }

  // Pixels of each node; kept until the tree, the size or the zoom changes.
  place(width, height) {
    const { tree } = this.run;
    const { across, depth, leaves, deepest } = tree.layout();
    const key = [tree.size, width, height, this.zoom, this.left, this.top].join();
    if (this.key === key && this.placed === tree) return;
    Object.assign(this, { key, placed: tree });
    const margin = 12;
    const column = ((width - 2 * margin) / deepest) * this.zoom;
    const row = ((height - 2 * margin) / Math.max(1, leaves - 1)) * this.zoom;
    const middle = leaves === 1 ? height / 2 - margin : 0;
    this.x = Float64Array.from(depth, (each) => margin + this.left + each * column);
    this.y = Float64Array.from(across, (each) => margin + this.top + each * row + middle);
    this.radius = Math.max(1.5, Math.min(6, row * 0.45, column * 0.3));
  }

  wheel(event) {
    event.preventDefault();
    const next = Math.max(1, Math.min(MOST_ZOOM, this.zoom * Math.exp(-event.deltaY / 400)));
    const share = next / this.zoom;
    const box = this.canvas.getBoundingClientRect();
    this.left = next === 1 ? 0 : (event.clientX - box.left - 12) * (1 - share) + this.left * share;
    this.top = next === 1 ? 0 : (event.clientY - box.top - 12) * (1 - share) + this.top * share;
    this.zoom = next;
    this.draw();
  }

  press(event) {
    this.from = { x: event.clientX, y: event.clientY, left: this.left, top: this.top, moved: false };
    this.canvas.setPointerCapture(event.pointerId);
  }

  drag(event) {
    if (!this.from) return;
    const [right, down] = [event.clientX - this.from.x, event.clientY - this.from.y];
    if (Math.hypot(right, down) > DRAG_PX) this.from.moved = true;
    if (!this.from.moved) return;
    this.left = this.from.left + right;
    this.top = this.from.top + down;
    this.draw();
  }

  release(event) {
    const moved = this.from?.moved;
    this.from = null;
    if (moved || !this.run) return;
    const box = this.canvas.getBoundingClientRect();
    const nearest = this.nearest(event.clientX - box.left, event.clientY - box.top);
    if (nearest !== null) this.onSelect(nearest);
  }

  nearest(x, y) {
    let found = null;
    let least = 24 ** 2;
    for (let id = 0; id < this.limit; id++) {
      const distance = (this.x[id] - x) ** 2 + (this.y[id] - y) ** 2;
      if (distance < least) [found, least] = [id, distance];
    }
    return found;
  }
}
