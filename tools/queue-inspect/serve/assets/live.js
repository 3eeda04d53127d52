// Fetches the page again every few seconds and changes only what is different, so that focus, selection, scrolling and open lists stay.
// Everything is there without it.
"use strict";

(() => {
  const every = 2000;
  const live = document.getElementById("live");
  let paused = false, failures = 0, timer = 0;

  const morph = (old, fresh) => {
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
      old.replaceWith(fresh.cloneNode(true));
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    for (const { name } of [...old.attributes])
      if (!fresh.hasAttribute(name) && !(old.nodeName === "DETAILS" && name === "open")) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes)
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    const before = [...old.childNodes].filter((node) => !node.dataset || !node.dataset.own);
    const after = [...fresh.childNodes];
    after.forEach((node, i) => {
      if (i < before.length) morph(before[i], node);
      else old.appendChild(node.cloneNode(true));
    });
    before.slice(after.length).forEach((node) => node.remove());
  };

  const say = (text, tone) => {
    const shown = live.querySelector("span");
    if (shown.textContent !== text) shown.textContent = text;
    live.className = tone;
  };

  const update = async () => {
    clearTimeout(timer);
    if (!paused && !document.hidden) {
      try {
        const answer = await fetch(location.href, { cache: "no-store", credentials: "same-origin" });
        if (!answer.ok && answer.status !== 404) throw new Error(String(answer.status));
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        if (window.getSelection().isCollapsed) morph(document.getElementById("main"), fresh.getElementById("main"));
        morph(document.getElementById("as-of"), fresh.getElementById("as-of"));
        addButtons();
        failures = 0;
        say("live", "good");
      } catch (error) {
        failures += 1;
        say("no answer", "bad");
      }
    }
    timer = setTimeout(update, every * Math.min(1 + failures, 15));
  };

  const addButtons = () => {
    if (!navigator.clipboard) return;
    for (const code of document.querySelectorAll(".commands code")) {
      if (code.nextElementSibling) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "copy";
      button.dataset.own = "yes";
      button.textContent = "Copy";
      button.setAttribute("aria-label", "Copy: " + code.textContent);
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
        setTimeout(() => { button.textContent = "Copy"; }, 1500);
      });
      code.after(button);
    }
  };

  const state = document.createElement("span");
  const pause = document.createElement("button");
  pause.type = "button";
  pause.className = "pause";
  pause.textContent = "Pause";
  pause.setAttribute("aria-pressed", "false");
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Go on" : "Pause";
    say(paused ? "paused" : "live", paused ? "warn" : "good");
    if (!paused) update();
  });
  live.append(state);
  live.after(pause);
  say("live", "good");
  addButtons();
  document.addEventListener("visibilitychange", () => { if (!document.hidden) update(); });
  timer = setTimeout(update, every);
})();
