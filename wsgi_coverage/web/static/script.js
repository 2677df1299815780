/* What the dashboard does better with a script: everything works without it.

   Long work shows a bar and ends in a message, tables filter and sort where they are, times say
   how long ago they were, CSV goes to the clipboard. */
"use strict";

(() => {
  const POLL = 500; // milliseconds between two looks at how far a report is
  const PATIENCE = 300; // milliseconds before a bar is worth showing
  const work = document.getElementById("work");
  document.documentElement.classList.add("scripted");

  // Long work

  const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

  async function progress() {
    const answer = await fetch(work.dataset.building, { headers: { Accept: "application/json" } });
    return answer.ok ? (await answer.json()).building : null;
  }

  function show(building, fallback) {
    let text = work.querySelector("span");
    let bar = work.querySelector("progress");
    if (!text) {
      text = work.appendChild(document.createElement("span"));
      bar = work.appendChild(document.createElement("progress"));
      bar.setAttribute("aria-label", "Report being made");
    }
    if (building && building.files_total) {
      bar.max = building.files_total;
      bar.value = building.files_done;
      text.textContent = `Making the report: ${building.files_done.toLocaleString("en")} of ` +
        `${building.files_total.toLocaleString("en")} files`;
    } else {
      bar.removeAttribute("value");
      text.textContent = fallback;
    }
    work.classList.remove("failed");
    work.hidden = false;
  }

  function fail(message) {
    work.replaceChildren(document.createElement("span"));
    work.firstChild.textContent = message;
    work.classList.add("failed");
    work.hidden = false;
  }

  async function watch(isDone, fallback) {
    await pause(PATIENCE);
    while (!isDone()) {
      show(await progress().catch(() => null), fallback);
      await pause(POLL);
    }
  }

  async function send(form) {
    const buttons = [...document.querySelectorAll(".actions button, form[data-works] button")];
    let done = false;
    const data = new URLSearchParams(new FormData(form));
    buttons.forEach((button) => { button.disabled = true; });
    const watching = watch(() => done, "Combining the workers' data");
    try {
      const answer = await fetch(form.action, {
        method: "POST", body: data, headers: { Accept: "application/json" },
      });
      const body = await answer.json();
      if (answer.ok) {
        const here = new URL(location);
        here.searchParams.set("notice", form.dataset.notice);
        here.hash = "";
        location.assign(here);
        return;
      }
      done = true;
      await watching;
      fail(`${body.message}.`);
    } catch {
      done = true;
      await watching;
      fail("The server did not answer. The last report is unchanged; try again.");
    }
    buttons.forEach((button) => { button.disabled = false; });
  }

  document.addEventListener("submit", (event) => {
    if (event.target.matches("form[data-works]")) {
      event.preventDefault();
      send(event.target);
    }
  });

  async function follow() {
    let building = true;
    while (building) {
      await pause(POLL);
      building = await progress().catch(() => null);
      if (building) show(building, "Combining the workers' data");
    }
    location.reload();
  }
  if (work && "underWay" in work.dataset) follow();

  // A question has the keyboard; the attribute autofocus would be heeded while the page loads, too.
  for (const question of document.querySelectorAll(".ask")) {
    question.addEventListener("toggle", (event) => {
      if (event.newState === "open") question.querySelector("button").focus();
    });
  }

  // A message says what has just been done, so it is not for a reload.
  const address = new URL(location);
  if (address.searchParams.has("notice")) {
    address.searchParams.delete("notice");
    history.replaceState(null, "", address);
  }

  // Filtering, sorting and leafing: the server does it, and the list is put where the old one was.

  async function swap(address, id) {
    const answer = await fetch(address, { headers: { Accept: "text/html" } });
    if (!answer.ok) return false;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const found = page.getElementById(id);
    const focused = document.activeElement?.id;
    document.getElementById(id).replaceWith(found);
    if (focused) document.getElementById(focused)?.focus();
    document.getElementById("said").textContent = document.getElementById("count").innerText;
    history.replaceState(null, "", address);
    offerCopies();
    return true;
  }

  const form = document.querySelector("form[data-filters]");
  if (form) {
    const field = form.querySelector("input[type=search]");
    let isAsking = false;
    // One question at a time; when it is answered, the newest of those that came up meanwhile.
    const filter = async () => {
      if (isAsking) return;
      isAsking = true;
      let asked;
      try {
        while (asked !== field.value) {
          asked = field.value;
          const address = new URL(location);
          address.searchParams.delete("page");
          if (asked) address.searchParams.set("q", asked);
          else address.searchParams.delete("q");
          if (!(await swap(address, form.dataset.filters))) break;
        }
      } catch {
        form.classList.add("unanswered"); // the button is there again
      } finally {
        isAsking = false;
      }
    };
    field.addEventListener("input", filter);
    document.addEventListener("keydown", (event) => {
      const isTyping = event.target.matches("input, textarea, select");
      if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
        event.preventDefault();
        field.focus();
      }
    });
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-swap]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    swap(link.href, link.dataset.swap).catch(() => location.assign(link.href));
  });

  // A source: the next block that never ran, and the one before

  const blocks = [...document.querySelectorAll(".jump")].map((each) => each.parentElement);
  function jump(isForward) {
    const here = Number(location.hash.replace("#L", "")) || 0;
    const lineOf = (block) => Number(block.id.replace("L", ""));
    const found = isForward
      ? blocks.find((block) => lineOf(block) > here)
      : blocks.findLast((block) => lineOf(block) < here);
    if (found) location.hash = found.id;
  }
  if (blocks.length) {
    document.addEventListener("keydown", (event) => {
      const isTyping = event.target.matches("input, textarea, select");
      if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "n" || event.key === "p") jump(event.key === "n");
    });
  }

  // How long ago

  const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
  const format = new Intl.RelativeTimeFormat("en", { numeric: "always" });

  function ago() {
    for (const each of document.querySelectorAll("[data-ago]")) {
      const seconds = Math.max((Date.now() - Date.parse(each.dataset.ago)) / 1000, 0);
      const [unit, length] = UNITS.find(([, size]) => seconds >= size) ?? UNITS.at(-1);
      each.textContent = ` (${format.format(-Math.floor(seconds / length), unit)})`;
    }
  }
  ago();
  setInterval(ago, 10000);

  // CSV

  function offerCopies() {
    for (const link of document.querySelectorAll("a[data-copy]")) {
      delete link.dataset.copy;
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = "Copy as CSV";
      button.addEventListener("click", async () => {
        await copy(await (await fetch(link.href)).text());
        button.textContent = "Copied";
        setTimeout(() => { button.textContent = "Copy as CSV"; }, 2000);
      });
      link.before(button, " ");
    }
  }
  offerCopies();

  async function copy(text) {
    if (navigator.clipboard) {
      await navigator.clipboard.writeText(text);
      return;
    }
    // Only pages of this machine or over https have a clipboard of their own.
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
})();
