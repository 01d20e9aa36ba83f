// Grey values and heat maps as canvases: the same arithmetic as osteon.inference.heat_map.

const COLOURS = [[0, 0, 0], [60, 15, 110], [150, 30, 110], [220, 70, 60], [250, 150, 20], [250, 240, 140]];
const HEAT_SIDE = 320;

export function surface(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

// Decoded greys of a picture, and a canvas that shows them through a window.
export class Grey {
  static async load(source) {
    const image = new Image();
    image.src = source;
    await image.decode();
    return new Grey(image);
  }

  constructor(image) {
    this.width = image.naturalWidth;
    this.height = image.naturalHeight;
    this.canvas = surface(this.width, this.height);
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.context.drawImage(image, 0, 0);
    this.pixels = this.context.getImageData(0, 0, this.width, this.height);
    this.words = new Uint32Array(this.pixels.data.buffer);
    this.values = new Uint8Array(this.words.length);
    const bytes = this.pixels.data;
    for (let index = 0; index < this.values.length; index++) this.values[index] = bytes[4 * index];
    this.shown = "";
  }

  // Values from level - width / 2 on are dark, those up to level + width / 2 bright.
  show({ width, level, invert }) {
    const key = `${width} ${level} ${invert}`;
    if (key === this.shown) return this.canvas;
    this.shown = key;
    const table = new Uint32Array(256);
    for (let value = 0; value < 256; value++) {
      const share = Math.min(1, Math.max(0, (value - level + width / 2) / width));
      const grey = Math.round(255 * (invert ? 1 - share : share));
      table[value] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
    }
    const { words, values } = this;
    for (let index = 0; index < values.length; index++) words[index] = table[values[index]];
    this.context.putImageData(this.pixels, 0, 0);
    return this.canvas;
  }
}

// Cells and their shares for pixels at the given places: linear between centres, constant beyond the outer ones.
function interpolation(cells, count, length, scale, offset, size) {
  return Array.from({ length: count }, (_, index) => {
    const original = ((index + 0.5) * length) / count;
    const place = Math.min(cells - 1, Math.max(0, ((original * scale + offset) / size) * cells - 0.5));
    const below = Math.min(Math.floor(place), Math.max(cells - 2, 0));
    return [below, cells > 1 ? below + 1 : below, place - below];
  });
}

function colour(strength) {
  const place = Math.min(1, Math.max(0, strength)) * (COLOURS.length - 1);
  const below = Math.min(Math.floor(place), COLOURS.length - 2);
  return COLOURS[below].map((value, channel) => value + (COLOURS[below + 1][channel] - value) * (place - below));
}

// A canvas of the map's colours, as opaque as they are strong, to be stretched over the original.
export function heatCanvas(map, width, height) {
  const factor = Math.min(1, HEAT_SIDE / Math.max(width, height));
  const canvas = surface(Math.max(1, Math.round(width * factor)), Math.max(1, Math.round(height * factor)));
  const { cells, placement: at } = map;
  const rows = interpolation(cells.length, canvas.height, height, at.fitted_height / height, at.top, at.size);
  const columns = interpolation(cells[0].length, canvas.width, width, at.fitted_width / width, at.left, at.size);
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(canvas.width, canvas.height);
  let index = 0;
  for (const [top, bottom, down] of rows) {
    for (const [left, right, across] of columns) {
      const upper = cells[top][left] * (1 - across) + cells[top][right] * across;
      const lower = cells[bottom][left] * (1 - across) + cells[bottom][right] * across;
      const strength = upper * (1 - down) + lower * down;
      pixels.data.set([...colour(strength), 255 * Math.min(1, Math.max(0, strength))], index);
      index += 4;
    }
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}
