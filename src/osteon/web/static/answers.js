// Answers as elements of the page; texts are set as text, never as markup.

import { Grey } from "./picture.js";
import { Viewer } from "./viewer.js";

const GRAVITY = { reject: "Not read", abstain: "Held back", warn: "Note" };

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

const shown = (probability) => (probability === null ? "none" : probability.toFixed(3));

export function sentence(answer) {
  const parts = answer.studies.map((study) => {
    const number = study.probability === null ? "" : `, probability ${shown(study.probability)}`;
    return `${study.views.length > 1 || answer.studies.length > 1 ? `Study ${study.study}` : "Answer"}: ${study.words}${number}.`;
  });
  return ["Done.", ...answer.warnings, ...parts].join(" ");
}

function probability(of, target) {
  if (of.probability === null) return null;
  const fill = element("i");
  const mark = element("b");
  fill.style.width = `${100 * of.probability}%`;
  mark.style.left = `calc(${100 * of.threshold}% - 1px)`;
  const words = `Probability of ${target}: ${shown(of.probability)}`;
  const gauge = element("span", { class: `gauge ${of.verdict}`, "aria-hidden": "true" }, fill, mark);
  return element(
    "div", { class: "probability" },
    element("span", {}, words), gauge, element("span", { class: "quiet" }, `threshold ${shown(of.threshold)}`),
  );
}

function notices(view) {
  const told = view.refusal?.detail;
  const items = view.flags.filter((flag) => flag.detail !== told).map((flag) =>
    element("li", { class: flag.severity }, element("strong", {}, `${GRAVITY[flag.severity]}: `), flag.detail));
  return items.length ? element("ul", { class: "flags", "aria-label": "What was noticed" }, ...items) : null;
}

function about(view) {
  const format = view.format === "dicom" ? "DICOM" : view.height ? "picture" : "";
  const parts = [format, view.region];
  if (view.height) parts.push(`${view.width} × ${view.height}`);
  if (view.field) parts.push("dotted: the exposed field");
  if (view.closer_look) parts.push("dashed: looked at closer");
  return parts.filter(Boolean).join(", ");
}

function save(blob, name) {
  const address = URL.createObjectURL(blob);
  const link = element("a", { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

export { save };

function bar(viewer, view, output, notice) {
  const button = (words, label, act) => element("button", { type: "button", "aria-label": `${label}, view ${view.file}`, onclick: act }, words);
  const picture = async () => {
    const words = [`View ${view.file}: ${view.words}, probability ${shown(view.probability)}, threshold ${shown(view.threshold)}`, notice];
    save(await viewer.snapshot(words), `view-${view.file}.png`);
  };
  return element(
    "div", { class: "bar" },
    button("−", "Zoom out", () => viewer.zoomBy(0.8)), button("+", "Zoom in", () => viewer.zoomBy(1.25)),
    button("Invert", "Invert", () => viewer.invert()), button("Reset", "Reset", () => viewer.reset()),
    button("Save PNG", "Save PNG", picture), output,
  );
}

// One view as a figure, and its viewer where there is a picture.
export async function viewFigure(view, name, answer, settings) {
  const heading = `View ${view.file}: ${view.words}`;
  const canvas = element("canvas", {
    tabindex: "0", role: "application", "aria-roledescription": "radiograph",
    "aria-label": `View ${view.file}, ${view.words}. Arrow keys pan, plus and minus zoom, Shift with arrow keys sets the window, I inverts, R resets.`,
  });
  const output = element("output", { "aria-live": "off", "aria-label": `Window of view ${view.file}` });
  let viewer = null;
  const grey = view.picture ? await Grey.load(view.picture).catch(() => null) : null;
  if (grey) {
    viewer = new Viewer(canvas, grey, { map: view.heat_map, look: view.closer_look, field: view.field }, settings, ({ window, zoom }) => {
      output.textContent = `W ${Math.round(window.width)} L ${Math.round(window.level)}  ${Math.round(100 * zoom)} %`;
    });
  }
  const reason = view.refusal ? element("p", {}, element("strong", {}, "No answer: "), view.refusal.detail) : null;
  const figure = element(
    "figure", { class: "view" },
    viewer ? canvas : element("div", { class: "missing" }, element("p", {}, view.picture ? "This browser cannot show the picture" : "There is no picture to show")),
    viewer ? bar(viewer, view, output, answer.notice) : null,
    element(
      "figcaption", {},
      element("h3", { class: `verdict ${view.verdict}` }, heading),
      element("p", { class: "quiet" }, element("bdi", {}, name), about(view) && ` · ${about(view)}`),
      reason, probability(view, answer.target), notices(view),
    ),
  );
  return { figure, viewer };
}

export function studySection(study, answer, figures) {
  const several = answer.studies.length > 1;
  const name = several || study.views.length > 1 ? `Study ${several ? study.study : ""}`.trim() : "Answer";
  const answered = study.views.filter((view) => view.probability !== null).length;
  const missing = study.views.length - answered;
  const pooled = answered > 1 ? `The probability is the ${study.pooling} of ${answered} views; one view that is likely ${answer.target} makes the study so.` : null;
  return element(
    "article", { class: "study" },
    element("h2", { class: `verdict ${study.verdict}` }, `${name}: ${study.words}`),
    probability(study, answer.target),
    pooled ? element("p", { class: "quiet" }, pooled) : null,
    missing && answered ? element("p", {}, `${missing} of ${study.views.length} views ${missing === 1 ? "has" : "have"} no answer.`) : null,
    element("div", { class: "views" }, ...figures),
  );
}
