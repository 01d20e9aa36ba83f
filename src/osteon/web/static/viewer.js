// One radiograph on a canvas: window and level, zoom, pan, invert, heat map and outline; by mouse, fingers and keys.

import { heatCanvas, surface } from "./picture.js";

const OUTLINE = "#00e6e6";
const LOOK = "#e6e6e6";
const FARTHEST = 0.5;
const NEAREST = 24;
const KEY_STEP = 8;

export class Viewer {
  // settings is shared by all views: { heat, opacity, outline, drag }; drag: "page" leaves one finger to the page's scrolling.
  constructor(canvas, grey, { map, look, field }, settings, onChange) {
    Object.assign(this, { canvas, grey, map, look, field, settings, onChange });
    this.heat = map ? heatCanvas(map, grey.width, grey.height) : null;
    this.pointers = new Map();
    this.pending = false;
    this.reset();
    this.listen();
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(canvas);
  }

  reset() {
    this.window = { width: 255, level: 127.5, invert: false };
    this.zoom = 1;
    this.pan = { x: 0, y: 0 };
    this.draw();
  }

  invert() {
    this.window.invert = !this.window.invert;
    this.draw();
  }

  changeWindow(wider, lower) {
    const { window } = this;
    window.width = Math.min(510, Math.max(2, window.width + wider));
    window.level = Math.min(255, Math.max(0, window.level + lower));
    this.draw();
  }

  movePan(x, y) {
    this.pan.x += x;
    this.pan.y += y;
    this.draw();
  }

  // Zoom by a factor; the point (x, y) of the canvas, in CSS pixels, stays where it is.
  zoomBy(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const zoom = Math.min(NEAREST, Math.max(FARTHEST, this.zoom * factor));
    const real = zoom / this.zoom;
    const fromCentre = { x: x - this.canvas.clientWidth / 2, y: y - this.canvas.clientHeight / 2 };
    this.pan.x = fromCentre.x - (fromCentre.x - this.pan.x) * real;
    this.pan.y = fromCentre.y - (fromCentre.y - this.pan.y) * real;
    this.zoom = zoom;
    this.draw();
  }

  draw() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      this.paint();
      this.onChange?.(this);
    });
  }

  fit() {
    return Math.min(this.canvas.clientWidth / this.grey.width, this.canvas.clientHeight / this.grey.height);
  }

  paint() {
    const { canvas, grey } = this;
    canvas.style.touchAction = this.scrolls() ? "pan-y" : "none";
    const ratio = globalThis.devicePixelRatio || 1;
    const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    const scale = this.fit() * this.zoom * ratio;
    context.resetTransform();
    context.clearRect(0, 0, width, height);
    const left = (width - grey.width * scale) / 2 + this.pan.x * ratio;
    const top = (height - grey.height * scale) / 2 + this.pan.y * ratio;
    context.setTransform(scale, 0, 0, scale, left, top);
    this.paintLayers(context, scale / ratio, scale < 4 * ratio);
  }

  paintLayers(context, scale, smooth) {
    const { grey, settings } = this;
    context.imageSmoothingQuality = "high";
    context.imageSmoothingEnabled = smooth;
    context.drawImage(grey.show(this.window), 0, 0);
    context.imageSmoothingEnabled = true;
    if (this.heat && settings.heat) {
      context.globalAlpha = settings.opacity;
      context.drawImage(this.heat, 0, 0, grey.width, grey.height);
      context.globalAlpha = 1;
    }
    if (!settings.outline) return;
    if (this.map) this.paintOutlines(context, 2 / scale);
    if (this.field) this.paintPart(context, this.field, 1.5 / scale, [1, 3]);
    if (this.look) this.paintPart(context, this.look, 1.5 / scale, [6, 4]);
  }

  // The exposed field, dotted, or the part that was looked at closer, dashed.
  paintPart(context, { x, y, width, height }, lineWidth, dashes) {
    context.lineWidth = lineWidth;
    context.strokeStyle = LOOK;
    context.setLineDash(dashes.map((length) => length * lineWidth));
    context.strokeRect(x + lineWidth / 2, y + lineWidth / 2, width - lineWidth, height - lineWidth);
    context.setLineDash([]);
  }

  paintOutlines(context, lineWidth) {
    context.lineWidth = lineWidth;
    context.strokeStyle = OUTLINE;
    context.lineJoin = "round";
    for (const line of this.map.outlines) {
      context.beginPath();
      line.forEach(([x, y], index) => (index ? context.lineTo(x, y) : context.moveTo(x, y)));
      context.stroke();
    }
  }

  // The picture in its own size as it is shown, with a line of words below it.
  snapshot(words) {
    const { grey } = this;
    const size = Math.max(12, Math.round(grey.width / 45));
    const lines = words.flatMap((line) => wrapped(line, Math.floor(grey.width / (0.55 * size))));
    const canvas = surface(grey.width, grey.height + Math.round(size * (1.4 * lines.length + 0.8)));
    const context = canvas.getContext("2d");
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
    this.paintLayers(context, 600 / Math.max(grey.width, grey.height), true);
    context.fillStyle = "#fff";
    context.font = `${size}px sans-serif`;
    lines.forEach((line, index) => context.fillText(line, size / 2, grey.height + size * (1.4 * index + 1.4)));
    return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.drag(event));
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => this.pointers.delete(event.pointerId));
    }
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("dblclick", () => this.reset());
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  // Whether one finger scrolls the page rather than acts on the picture.
  scrolls() {
    return this.settings.drag === "page" && this.zoom <= 1;
  }

  press(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.focus({ preventScroll: true });
    const touches = event.pointerType === "touch";
    const pans = event.button !== 0 || event.shiftKey || this.settings.drag === "pan" || (touches && this.settings.drag === "page");
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY, pans, idle: touches && this.scrolls() });
    event.preventDefault();
  }

  drag(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = { ...before, x: event.clientX, y: event.clientY };
    if (this.pointers.size > 1) this.pinch(event.pointerId, before, now);
    else if (before.idle) return;
    else if (before.pans) this.movePan(now.x - before.x, now.y - before.y);
    else this.changeWindow(now.x - before.x, (now.y - before.y) / 2);
    this.pointers.set(event.pointerId, now);
  }

  pinch(id, before, now) {
    const other = [...this.pointers].find(([key]) => key !== id)[1];
    const apart = (point) => Math.max(1, Math.hypot(point.x - other.x, point.y - other.y));
    const box = this.canvas.getBoundingClientRect();
    this.movePan((now.x - before.x) / 2, (now.y - before.y) / 2);
    this.zoomBy(apart(now) / apart(before), (now.x + other.x) / 2 - box.left, (now.y + other.y) / 2 - box.top);
  }

  wheel(event) {
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    const lines = event.deltaMode === 1 ? 16 * event.deltaY : event.deltaY;
    this.zoomBy(Math.exp(-lines / 400), event.offsetX, event.offsetY);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const action = event.shiftKey ? this.shiftKeys()[event.key] : this.keys()[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action();
  }

  keys() {
    const zoom = (factor) => () => this.zoomBy(factor);
    const pan = (x, y) => () => this.movePan(5 * KEY_STEP * x, 5 * KEY_STEP * y);
    return {
      "+": zoom(1.25), "=": zoom(1.25), "-": zoom(0.8), i: () => this.invert(), r: () => this.reset(),
      arrowleft: pan(1, 0), arrowright: pan(-1, 0), arrowup: pan(0, 1), arrowdown: pan(0, -1),
    };
  }

  shiftKeys() {
    const window = (wider, lower) => () => this.changeWindow(KEY_STEP * wider, KEY_STEP * lower);
    return {
      "+": () => this.zoomBy(1.25), "*": () => this.zoomBy(1.25), "_": () => this.zoomBy(0.8),
      I: () => this.invert(), R: () => this.reset(),
      ArrowLeft: window(-1, 0), ArrowRight: window(1, 0), ArrowUp: window(0, -1), ArrowDown: window(0, 1),
    };
  }

  close() {
    this.observer.disconnect();
  }
}

function wrapped(text, most) {
  const lines = [""];
  for (const word of text.split(" ")) {
    const line = lines.at(-1);
    if (line && line.length + 1 + word.length > most) lines.push(word);
    else lines[lines.length - 1] = line ? `${line} ${word}` : word;
  }
  return lines;
}
