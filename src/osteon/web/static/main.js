// The page: takes files in, asks the service, shows the answers, and hands the display's settings to all viewers.

import { element, save, studySection, viewFigure } from "./answers.js";
import { keepToken, post, Trouble } from "./client.js";
import { dropped } from "./drop.js";
import { sentence } from "./words.js";

const at = (id) => document.getElementById(id);
const limits = JSON.parse(document.body.dataset.limits);
const settings = { heat: true, opacity: 0.45, outline: true, drag: "window" };
let viewers = [];
let files = [];
let stop = null;
let asked = null;

// What is happening; `shown`: it is seen elsewhere too, so that these words are for who listens.
function say(words, shown = false) {
  at("status").textContent = words;
  at("status").classList.toggle("visually-hidden", shown);
}
const complain = (words) => (at("trouble").textContent = words);

// Ask for the token once, for all who wait for it; `again`: the one that was shown does not fit.
function askToken(again) {
  asked ??= openDoor(again).finally(() => (asked = null));
  return asked;
}

function openDoor(again) {
  const door = at("door");
  say("The service wants a token.");
  at("token").value = "";
  at("misfit").hidden = !again;
  door.returnValue = "";
  door.showModal();
  return new Promise((resolve, reject) => {
    door.addEventListener("close", () => {
      const token = at("token").value;
      at("token").value = "";
      if (door.returnValue !== "given") return reject(new Trouble(401, "Without a token there is no answer."));
      keepToken(token);
      return resolve();
    }, { once: true });
  });
}

function tooMuch(chosen) {
  const megabytes = (bytes) => `${Math.round(bytes / 1048576)} MB`;
  if (chosen.length > limits.files) return `More than ${limits.files} files, which is the most that can be read at a time`;
  const large = chosen.find((file) => file.size > limits.file_bytes);
  if (large) return `${large.name} is larger than ${megabytes(limits.file_bytes)}`;
  const total = chosen.reduce((sum, file) => sum + file.size, 0);
  return total > limits.request_bytes ? `Together they are larger than ${megabytes(limits.request_bytes)}` : "";
}

function progress(share) {
  const bar = at("progress");
  if (share === null || share >= 1) {
    bar.removeAttribute("value");
    say("The service is reading them.");
  } else {
    bar.value = share;
  }
}

const fields = () => ({ study: at("together").checked ? "one" : "each" });

// Do something that takes its time, with progress and a way to stop it.
async function busily(words, work) {
  stop?.abort();
  const mine = (stop = new AbortController());
  complain("");
  say(words);
  at("working").hidden = false;
  progressStart();
  try {
    await work({
      signal: mine.signal, askToken, onProgress: progress,
      onBusy: (seconds) => say(`The service is busy. Asking again in ${seconds} s.`),
    });
  } catch (error) {
    if (mine !== stop) return;
    say("");
    if (!(error instanceof Trouble)) console.error(error);
    if (error.status === -1) say("Stopped.");
    else complain(error instanceof Trouble ? error.message : "The page failed to show the answer.");
  } finally {
    if (mine === stop) at("working").hidden = true;
  }
}

function progressStart() {
  at("progress").removeAttribute("value");
}

async function read(chosen) {
  if (!chosen.length) return;
  clear(); // an answer of other files must not stand beside these
  const words = tooMuch(chosen);
  if (words) {
    refuse(`${words}.`);
    return;
  }
  files = chosen;
  await busily(`Sending ${chosen.length === 1 ? "one file" : `${chosen.length} files`}.`, async (options) => {
    const answer = await post("v1/predict", chosen, { ...fields(), pictures: "true" }, options);
    if (options.signal.aborted || !(await show(answer, chosen, options.signal))) throw new Trouble(-1, "Stopped");
    say(sentence(answer), true);
    showTop();
  });
}

// Say why files are not read at all; what was under way ends, for others were chosen.
function refuse(words) {
  stop?.abort();
  stop = null;
  at("working").hidden = true;
  say("");
  complain(words);
}

async function readDrop(transfer) {
  const holdsFiles = transfer.types.includes("Files");
  let chosen = [];
  try {
    chosen = await dropped(transfer, limits.files);
  } catch {
    return refuse("The folder cannot be read.");
  }
  return chosen.length || !holdsFiles ? read(chosen) : refuse("There are no files in it.");
}

// Show an answer to the files that were sent, unless others were chosen meanwhile.
async function show(answer, sent, signal) {
  const sections = [];
  const mine = [];
  const names = sent.map((file) => file.name);
  for (const study of answer.studies) {
    const alone = study.views.length === 1;
    const made = await Promise.all(study.views.map((view) => viewFigure(view, names, answer, settings, alone)));
    mine.push(...made.map(({ viewer }) => viewer).filter(Boolean));
    sections.push(studySection(study, answer, made.map(({ figure }) => figure)));
  }
  if (signal.aborted) {
    mine.forEach((viewer) => viewer.close());
    return false;
  }
  viewers = mine;
  const warnings = answer.warnings.map((words) => element("p", { class: "notice" }, words));
  at("answers").replaceChildren(...warnings, ...sections);
  const views = answer.studies.flatMap((study) => study.views);
  at("tools").hidden = false;
  at("clear").hidden = false;
  at("documents").hidden = document.body.dataset.documents !== "yes" || !views.some((view) => view.format === "dicom" && !view.refusal);
  document.body.classList.add("read");
  return true;
}

// Bring an answer up that begins in the lower half of a small screen.
function showTop() {
  const answers = at("answers");
  if (answers.getBoundingClientRect().top > innerHeight / 3) answers.scrollIntoView();
}

function clear() {
  viewers.forEach((viewer) => viewer.close());
  viewers = [];
  files = [];
  at("answers").replaceChildren();
  at("tools").hidden = true;
  at("clear").hidden = true;
  document.body.classList.remove("read");
}

function fetchDocument(path, name) {
  return busily("Making the report.", async (options) => {
    save(await post(path, files, fields(), { ...options, kind: "blob" }), name);
    say("The report is ready.");
  });
}

function redraw() {
  settings.heat = at("heat").checked;
  settings.outline = at("outline").checked;
  settings.opacity = at("opacity").value / 100;
  settings.drag = document.querySelector("input[name=drag]:checked").value;
  viewers.forEach((viewer) => viewer.draw());
}

function sharedKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName !== "CANVAS") return;
  const toggle = { h: "heat", o: "outline" }[event.key.toLowerCase()];
  const step = { "[": -5, "]": 5 }[event.key];
  if (toggle) at(toggle).checked = !at(toggle).checked;
  else if (step) at("opacity").value = Number(at("opacity").value) + step;
  else return;
  redraw();
}

// On small screens what sets the display is folded away, and one finger scrolls the page.
const roomy = matchMedia("(min-width: 40rem) and (min-height: 30rem)");
const unfold = () => (at("display").open = roomy.matches);
roomy.addEventListener("change", unfold);
unfold();
if (matchMedia("(pointer: coarse)").matches) document.querySelector("input[name=drag][value=page]").checked = true;
redraw();

at("files").addEventListener("change", (event) => {
  const chosen = [...event.target.files];
  event.target.value = "";
  read(chosen);
});
at("together").addEventListener("change", () => files.length > 1 && read(files));
at("clear").addEventListener("click", () => (stop?.abort(), clear(), say("Cleared."), at("files").focus()));
at("stop").addEventListener("click", () => stop?.abort());
at("intake").addEventListener("submit", (event) => event.preventDefault());
at("report").addEventListener("click", () => fetchDocument("v1/report", "osteon-report.pdf"));
at("documents").addEventListener("click", () => fetchDocument("v1/documents", "osteon-dicom.zip"));
for (const id of ["heat", "outline", "opacity"]) at(id).addEventListener("input", redraw);
document.querySelectorAll("input[name=drag]").forEach((radio) => radio.addEventListener("change", redraw));
document.addEventListener("keydown", sharedKey);

let over = 0;
addEventListener("dragenter", (event) => (event.preventDefault(), document.body.classList.toggle("over", ++over > 0)));
addEventListener("dragleave", () => document.body.classList.toggle("over", --over > 0));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  over = 0;
  document.body.classList.remove("over");
  readDrop(event.dataTransfer);
});
