// The images of an item: loaded and decoded ahead of time, zoomed and moved together.

const KEPT = 24; // for going back and for the next items
const loaded = new Map(); // by address, the oldest first

export const frames = () => [...document.getElementById("frames").children];
export const views = () => frames().map((frame) => frame.firstElementChild);
export const zoomed = () => document.body.classList.contains("zoomed");

// An image element; its property `ready` is the promise of the decoded image.
export function load({ url, width, height }) {
  if (loaded.has(url)) return loaded.get(url);
  const image = new Image(width, height);
  image.draggable = false;
  image.src = url;
  image.ready = image.decode();
  image.ready.catch(() => loaded.delete(url)); // so that Retry loads it again
  image.style.setProperty("--w", width);
  image.style.setProperty("--h", height);
  image.classList.toggle("tiny", Math.max(width, height) <= 128);
  loaded.set(url, image);
  const spare = [...loaded.keys()].slice(0, -KEPT);
  spare.filter((key) => !loaded.get(key).isConnected).forEach((key) => loaded.delete(key));
  return image;
}

export function zoom(on) {
  document.body.classList.remove("zoomed");
  document.getElementById("zoom").setAttribute("aria-pressed", on);
  for (const view of views()) {
    const image = view.firstElementChild;
    if (on && image) {
      // 1:1, or twice the size where the image is shown at 1:1 or larger already
      const fit = image.getBoundingClientRect().width;
      image.style.setProperty("--zoom", image.width > fit ? image.width : 2 * fit);
      view.tabIndex = 0; // a region that scrolls must be reachable by keyboard
      view.role = "group";
      view.ariaLabel = `${image.alt}, zoomed`;
    } else {
      for (const name of ["tabindex", "role", "aria-label"]) view.removeAttribute(name);
    }
  }
  document.body.classList.toggle("zoomed", on);
  if (on) pan(0.5, 0.5);
}

function pan(x, y) { // to the same part of both images
  for (const view of views()) {
    const { scrollWidth, clientWidth, scrollHeight, clientHeight } = view;
    view.scrollTo(x * (scrollWidth - clientWidth), y * (scrollHeight - clientHeight));
  }
}

export function panBy(dx, dy) {
  for (const view of views()) view.scrollBy(dx * 60, dy * 60);
}

export function panWith(event) { // the zoomed images follow the mouse
  const view = event.target.closest(".view");
  if (event.pointerType !== "mouse" || !view || !zoomed()) return;
  const box = view.getBoundingClientRect();
  pan((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
}
