"use strict";
// The page can be read without any of this: it opens what a link points into, and lets pictures follow the players.
(() => {
  const reveal = () => {
    let id = "";
    try { id = decodeURIComponent(location.hash.slice(1)); } catch { return; }
    const target = id && document.getElementById(id);
    if (!target) return;
    for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((node) => { node.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((node) => { node.open = false; }));

  const players = [...document.querySelectorAll("audio")];
  players.forEach((player) => {
    player.addEventListener("play", () => players.forEach((other) => { if (other !== player) other.pause(); }));
    const picture = player.closest(".example").querySelector("svg.timeline");
    if (!picture || player.dataset.clip !== "0") return;
    const seconds = Number(picture.dataset.seconds);
    const width = picture.viewBox.baseVal.width;
    const head = picture.querySelector(".playhead");
    const spans = [...picture.querySelectorAll(".span")].map((node) => [node, Number(node.dataset.start), Number(node.dataset.end)]);
    picture.classList.add("ready");
    const draw = () => {
      const now = player.currentTime;
      head.setAttribute("x1", width * now / seconds);
      head.setAttribute("x2", width * now / seconds);
      const playing = !player.paused || now > 0;
      spans.forEach(([node, start, end]) => node.classList.toggle("live", playing && start <= now && now < end));
      if (!player.paused) requestAnimationFrame(draw);
    };
    ["play", "seeked", "pause", "ended"].forEach((event) => player.addEventListener(event, draw));
    picture.addEventListener("click", (event) => {
      const box = picture.getBoundingClientRect();
      const span = event.target.closest(".span");
      player.currentTime = span ? Number(span.dataset.start) : seconds * (event.clientX - box.left) / box.width;
      player.play().catch(() => {}); // a pause that comes first is no fault
    });
  });

  const links = new Map([...document.querySelectorAll("nav.bar a")].map((link) => [link.hash.slice(1), link]));
  const watch = new IntersectionObserver((entries) => {
    const seen = entries.find((entry) => entry.isIntersecting);
    if (!seen) return;
    links.forEach((link, id) => { if (id === seen.target.id) link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current"); });
  }, { rootMargin: "-15% 0px -75% 0px" });
  links.forEach((_, id) => { const node = document.getElementById(id); if (node) watch.observe(node); });
})();
