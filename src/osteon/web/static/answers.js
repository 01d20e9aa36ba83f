// Answers as elements of the page; texts are set as text, never as markup.

import { Grey } from "./picture.js";
import { Viewer } from "./viewer.js";
import { GRAVITY, exact, lineWords, percent, reason, scaleWords } from "./words.js";

const worth = JSON.parse(document.body.dataset.worth);

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

const paragraph = (words, kind = null) => (words ? element("p", { class: kind }, words) : null);

// A view's probability in words and on a scale with the bounds of what is uncertain.
function probability(view, target) {
  if (view.probability === null) return null;
  const fill = element("i");
  fill.style.width = `${100 * view.probability}%`;
  const bounds = view.scale ? [view.scale.low, view.scale.high] : [view.threshold];
  const marks = bounds.map((bound) => {
    const mark = element("b");
    mark.style.left = `calc(${100 * bound}% - 1px)`;
    return mark;
  });
  const words = element("span", {}, `Probability of ${target}: `, element("strong", {}, percent(view.probability)));
  return element(
    "div", { class: "probability" },
    words, element("span", { class: "quiet" }, exact(view.probability)),
    element("span", { class: `gauge ${view.verdict}`, "aria-hidden": "true" }, fill, ...marks),
    reason(view) ? null : element("span", { class: "quiet" }, scaleWords(view, target)),
  );
}

// What was noticed about a view, but for what is said elsewhere.
function notices(view, told) {
  const items = view.flags.filter((flag) => flag.detail !== view.refusal?.detail && !told.includes(flag.detail)).map((flag) =>
    element("li", { class: flag.severity }, element("strong", {}, `${GRAVITY[flag.severity]}: `), flag.detail));
  return items.length ? element("ul", { class: "flags", "aria-label": "What was noticed" }, ...items) : null;
}

function about(view) {
  const format = view.format === "dicom" ? "DICOM" : view.height ? "picture" : "";
  const size = view.height ? `${view.width} × ${view.height}` : "";
  return [format, view.region, size].filter(Boolean).join(", ");
}

export function save(blob, name) {
  const address = URL.createObjectURL(blob);
  const link = element("a", { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

function bar(viewer, view, output, notice) {
  const button = (words, label, act) => element("button", { type: "button", "aria-label": `${label}, view ${view.file}`, onclick: act }, words);
  const number = view.probability === null ? "" : `, probability ${exact(view.probability)}, threshold ${exact(view.threshold)}`;
  const picture = async () => save(await viewer.snapshot([`View ${view.file}: ${view.words}${number}`, notice]), `view-${view.file}.png`);
  return element(
    "div", { class: "bar" },
    button("−", "Zoom out", () => viewer.zoomBy(0.8)), button("+", "Zoom in", () => viewer.zoomBy(1.25)),
    button("Invert", "Invert", () => viewer.invert()), button("Reset", "Reset", () => viewer.reset()),
    button("Save PNG", "Save PNG", picture), output,
  );
}

// The files of a view: its own, and those that hold the same picture once more.
function files(view, names) {
  const also = view.copies.flatMap((number) => [" = ", element("bdi", {}, names[number - 1])]);
  return element("p", { class: "quiet" }, element("bdi", {}, names[view.file - 1]), ...also, about(view) && ` · ${about(view)}`);
}

// One view as a figure, and its viewer where there is a picture; `alone`: its study says the answer.
export async function viewFigure(view, names, answer, settings, alone) {
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
  const told = reason(view);
  const verdict = [element("h3", { class: `verdict ${view.verdict}` }, `View ${view.file}: ${view.words}`), probability(view, answer.target), paragraph(told, "reason")];
  const figure = element(
    "figure", { class: "view", id: `view-${view.file}`, tabindex: "-1" },
    viewer ? canvas : element("div", { class: "missing" }, element("p", {}, view.picture ? "This browser cannot show the picture" : "There is no picture to show")),
    viewer ? bar(viewer, view, output, answer.notice) : null,
    element("figcaption", {}, ...(alone ? [] : verdict), files(view, names), paragraph(lineWords(view), "quiet"), notices(view, told)),
  );
  return { figure, viewer };
}

// The answers of a study's views as links to them, and how they became one.
function summary(study) {
  const answered = study.views.filter((view) => view.probability !== null).length;
  const missing = study.views.length - answered;
  const lines = study.views.map((view) => {
    const number = view.probability === null ? "" : `, ${percent(view.probability)}`;
    const link = element("a", { href: `#view-${view.file}` }, `View ${view.file}`);
    return element("li", { class: `verdict ${view.verdict}` }, link, `: ${view.words}${number}`);
  });
  const rule = { positive: "One view is enough for that.", negative: "All views say so.", uncertain: "It takes every view to say no, and one to say yes.", refused: "" };
  const mean = `The ${study.pooling} of ${answered} views is ${study.probability && exact(study.probability)}; the answer does not follow from it.`;
  return [
    element("ul", { class: "summary", "aria-label": "Views" }, ...lines),
    missing && answered ? paragraph(`${missing} of ${study.views.length} views ${missing === 1 ? "has" : "have"} no answer.`) : null,
    paragraph(`${rule[study.verdict]}${answered > 1 ? ` ${mean}` : ""}`.trim(), "quiet"),
  ];
}

export function studySection(study, answer, figures) {
  const { target, notice } = answer;
  const several = answer.studies.length > 1;
  const alone = study.views.length === 1;
  const [first] = study.views;
  const name = several || !alone ? `Study ${several ? study.study : ""}`.trim() : "Answer";
  const open = study.verdict !== "refused" && !(study.verdict === "uncertain" && study.views.some(reason));
  return element(
    "article", { class: `study${alone ? " alone" : ""}` },
    element(
      "div", { class: "said" },
      paragraph(`Is it ${target}?`, "asked"),
      element("h2", { class: `verdict ${study.verdict}` }, `${name}: ${study.words}`),
      ...(alone ? [probability(first, target), paragraph(reason(first), "reason")] : summary(study)),
      open ? paragraph(worth[study.verdict], "quiet") : null,
      paragraph(`${notice} It must not decide about a patient: have the images read, whatever it says. It looks for nothing but “${target}”.`, "limits"),
    ),
    element("div", { class: "views" }, ...figures),
  );
}
