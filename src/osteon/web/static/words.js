// What is said of an answer: whole per cents, what lies between yes and no, and where.

export const GRAVITY = { reject: "Not read", abstain: "Held back", warn: "Note" };

// A share as a reader takes it in; never nothing or everything.
export function percent(share) {
  if (share < 0.01) return "under 1\u00a0%";
  return share > 0.99 ? "over 99\u00a0%" : `${Math.round(100 * share)}\u00a0%`;
}

export const exact = (share) => share.toFixed(3);

// Which probabilities lead to which answer.
export function scaleWords(view, target) {
  if (!view.scale) return `Likely ${target} from ${percent(view.threshold)} on.`;
  const { low, high } = view.scale;
  if (low <= 0 && high >= 1) return "Uncertain at any probability.";
  if (low <= 0) return `Likely ${target} from ${percent(high)} on, uncertain below.`;
  if (high >= 1) return `Likely not ${target} below ${percent(low)}, uncertain from there on.`;
  const between = low < high ? ", uncertain between" : "";
  return `Likely ${target} from ${percent(high)} on, likely not ${target} below ${percent(low)}${between}.`;
}

// Why a view's answer is none, or is held back, whatever its probability; empty where it is neither.
export function reason(view) {
  if (view.refusal) return `No answer: ${view.refusal.detail}`;
  const held = view.flags.find((flag) => flag.severity === "abstain");
  return held ? `${GRAVITY.abstain}: ${held.detail}` : "";
}

const third = (share, names) => names[Math.min(2, Math.max(0, Math.floor(3 * share)))];

// Where in the picture the map is strongest, for who cannot see it, e.g. "at the upper right".
function whereabouts(view) {
  const [x, y] = view.heat_map.peak;
  const down = third(y / view.height, ["upper", "", "lower"]);
  const across = third(x / view.width, ["left", "", "right"]);
  if (across) return `at the ${down && `${down} `}${across}`;
  return down ? `in the ${down} part` : "in the middle";
}

// What the lines on a picture mean, and where they are.
export function lineWords(view) {
  const parts = [];
  if (view.heat_map) {
    const count = view.heat_map.outlines.length;
    const strongest = `${count > 1 ? ", most strongly" : ""} ${whereabouts(view)}`;
    parts.push(count ? `outlined: where it sees it (${count === 1 ? "one place" : `${count} places`}${strongest})` : "no place stands out");
  }
  if (view.closer_look) parts.push("dashed: looked at closer");
  if (view.field) parts.push("dotted: the exposed field");
  const words = parts.join("; ");
  return words && `${words[0].toUpperCase()}${words.slice(1)}.`;
}

// The whole answer in a few sentences, for who listens.
export function sentence(answer) {
  const parts = answer.studies.map((study) => {
    const alone = study.views.length === 1;
    const number = study.probability === null ? "" : `, ${alone ? "" : "mean "}probability ${percent(study.probability)}`;
    const name = alone && answer.studies.length === 1 ? "Answer" : `Study ${study.study}`;
    const why = alone ? reason(study.views[0]) : "";
    return `${name}: ${study.words}${number}.${why && ` ${why}.`}`;
  });
  return ["Done.", ...answer.warnings, ...parts].join(" ");
}
