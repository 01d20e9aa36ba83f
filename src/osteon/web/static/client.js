// Talking to the service: uploads with progress, waiting while it is busy, the token.

const TOKEN = "osteon-token";
const TRIES = 5;

export class Trouble extends Error {
  constructor(status, words, hint = "", requestId = "") {
    super(hint ? `${words}. ${hint}` : words);
    this.status = status;
    this.requestId = requestId;
  }
}

export function keepToken(token) {
  sessionStorage.setItem(TOKEN, token);
}

// Name the file that cannot be read any more (moved, changed, or a folder); null: the fault is elsewhere.
async function unreadable(files) {
  for (const file of files) {
    try {
      await file.slice(0, 1).arrayBuffer();
    } catch {
      return new Trouble(0, `${file.name} cannot be read`, "Was it moved or changed? Choose it again");
    }
  }
  return null;
}

function form(files, fields) {
  const data = new FormData();
  // The names that the user's files have stay here.
  files.forEach((file, index) => data.append("files", file, `view-${index + 1}`));
  for (const [name, value] of Object.entries(fields)) data.append(name, value);
  return data;
}

function send(path, files, body, { kind, signal, onProgress }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.responseType = kind;
    const token = sessionStorage.getItem(TOKEN);
    if (token) request.setRequestHeader("Authorization", `Bearer ${token}`);
    request.upload.onprogress = (event) => onProgress?.(event.lengthComputable ? event.loaded / event.total : null);
    request.onload = () => resolve(request);
    request.onerror = async () =>
      reject((await unreadable(files)) ?? new Trouble(0, "The service cannot be reached", "Is it still running?"));
    request.onabort = () => reject(new Trouble(-1, "Stopped"));
    signal?.addEventListener("abort", () => request.abort(), { once: true });
    request.send(body);
  });
}

async function told(request) {
  try {
    const body = request.response;
    const values = body instanceof Blob ? JSON.parse(await body.text()) : body;
    return new Trouble(request.status, values.what, values.hint ?? "", values.request_id);
  } catch {
    return new Trouble(request.status, `The service answered with status ${request.status}`);
  }
}

const pause = (seconds, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal?.addEventListener("abort", () => (clearTimeout(timer), reject(new Trouble(-1, "Stopped"))), { once: true });
  });

// Send files, and again while the service is busy; the answer is JSON or a Blob.
export async function post(path, files, fields, { kind = "json", signal, onProgress, onBusy, askToken }) {
  const body = form(files, fields);
  let busy = 0;
  for (;;) {
    if (signal?.aborted) throw new Trouble(-1, "Stopped");
    const request = await send(path, files, body, { kind, signal, onProgress });
    if (request.status === 200) return request.response;
    if (request.status === 401) {
      await askToken(sessionStorage.getItem(TOKEN) !== null);
    } else if (request.status === 503 && busy < TRIES) {
      busy += 1;
      const seconds = busy * (Number(request.getResponseHeader("Retry-After")) || 1);
      onBusy?.(seconds);
      await pause(seconds, signal);
    } else {
      throw await told(request);
    }
  }
}
