// Files of a drop, those inside folders too, by path.

const told = (ask) => new Promise((resolve, reject) => ask(resolve, reject));

// Add the files below an entry, until there are more than `most`; hidden ones are left out.
async function gather(entry, found, most) {
  if (found.length > most || entry.name.startsWith(".")) return;
  if (entry.isFile) {
    found.push(entry);
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const batch = await told((done, failed) => reader.readEntries(done, failed));
    if (!batch.length) return;
    for (const inner of batch) await gather(inner, found, most);
  }
}

// The transfer must be that of the event itself: it is emptied when the event is over. Rejects where a folder cannot be read.
export async function dropped(transfer, most) {
  const files = [...transfer.files];
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return files;
  const found = [];
  for (const entry of entries) await gather(entry, found, most);
  found.sort((one, other) => (one.fullPath < other.fullPath ? -1 : 1));
  return Promise.all(found.map((entry) => told((done, failed) => entry.file(done, failed))));
}
