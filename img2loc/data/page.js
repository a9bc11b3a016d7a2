() => {
  // What the page does in the browser by itself. One listener for all, since Gradio draws its parts anew.
  const copy = async (words, button) => {
    try {
      await navigator.clipboard.writeText(words);
      button.textContent = button.dataset.copied;
    } catch {
      getSelection().selectAllChildren(button.previousElementSibling);
      button.textContent = button.dataset.failed;
    }
  };

  // Nothing comes from elsewhere before this is pressed.
  const showStreets = (button) => {
    const map = document.createElement("iframe");
    Object.assign(map, {title: "Street map from OpenStreetMap", referrerPolicy: "no-referrer", src: button.dataset.street});
    map.sandbox = "allow-scripts allow-same-origin allow-popups";
    button.parentElement.replaceChildren(map);
    map.focus();
  };

  // Where each button's answer appears: it must be seen that something is under way.
  const ANSWERS = {locate: "answer", compare: "compare-answers", "locate-all": "batch-answers"};
  document.addEventListener("click", (event) => {
    const go = event.target.closest?.("#locate, #compare, #locate-all");
    if (go) document.getElementById(ANSWERS[go.id]).scrollIntoView({block: "nearest", behavior: "smooth"});
    const button = event.target.closest?.("[data-copy], [data-street], [data-spots]");
    if (button?.dataset.copy) copy(button.dataset.copy, button);
    if (button?.dataset.street) showStreets(button);
    if (button?.dataset.spots) {
      document.getElementById(button.dataset.spots.split("|")[0])?.scrollIntoView({block: "nearest", behavior: "smooth"});
    }
  });

  // The points that a table's row speaks of: "map's id|trace's name|index; ...".
  const points = (spots) => spots.split(";").flatMap((spot) => {
    const [map, name, index] = spot.split("|");
    const trace = [...document.querySelectorAll(`#${map} .trace.scattergeo`)].find((e) => e.__data__?.[0].trace.name === name);
    return trace ? [...trace.querySelectorAll("path.point")].slice(+index, +index + 1) : [];
  });
  const light = (event) => {
    document.querySelectorAll(".i2l-lit").forEach((lit) => lit.classList.remove("i2l-lit"));
    const row = event.target.closest?.(".i2l-table tr, .i2l-cards li");
    const button = row?.querySelector("[data-spots]");
    if (button) [row, ...points(button.dataset.spots)].forEach((part) => part.classList.add("i2l-lit"));
  };
  document.addEventListener("mouseover", light);
  document.addEventListener("focusin", light);

  // A click on the map of the known area sets a circle there; its words go where they can be read and changed.
  document.addEventListener("click", (event) => {
    const map = event.target.closest?.("#area-map .js-plotly-plot");
    if (!map || event.target.closest(".modebar")) return;
    const frame = map.querySelector(".main-svg").getBoundingClientRect();
    const at = map._fullLayout.geo._subplot.projection.invert([event.clientX - frame.left, event.clientY - frame.top]);
    if (!at?.every(Number.isFinite)) return;
    const words = document.querySelector("#within :is(input, textarea)");
    const radius = document.querySelector("#within-radius input[type=number]").value;
    words.value = `${at[1].toFixed(3)}, ${at[0].toFixed(3)}, ${radius} km`;
    words.dispatchEvent(new Event("input", {bubbles: true}));
    words.dispatchEvent(new Event("blur"));
  });

  // A link to settings, by their names in permalink.py; `copied` is what the button then says.
  window.i2lLink = async (copied, settings) => {
    const link = new URL(location.origin + location.pathname);
    Object.entries(settings).forEach(([name, value]) => value !== "" && value !== null && link.searchParams.set(name, value));
    try {
      await navigator.clipboard.writeText(link.href);
    } catch {
      prompt("", link.href);
    }
    return copied;
  };

  // What Gradio leaves without words for those who can't see it, and what only the browser knows.
  const examples = ["Example: the Eiffel tower", "Example: a cheetah"];
  const address = location.origin + location.pathname;
  new MutationObserver(() => {
    document.querySelectorAll("#examples button:not([aria-label])").forEach((button, at) => { button.ariaLabel = examples[at]; });
    document.querySelectorAll("[data-address]:empty").forEach((place) => { place.textContent = address; });
  }).observe(document.body, {childList: true, subtree: true});

  // A host page may fit the frame to what is in it: docs/embed.html shows how.
  if (parent !== window) {
    new ResizeObserver(() => {
      parent.postMessage({img2loc: {height: document.querySelector(".gradio-container").scrollHeight}}, "*");
    }).observe(document.querySelector(".gradio-container"));
  }
}
