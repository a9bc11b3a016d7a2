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
  new MutationObserver((changes) => {
    // What is wrong with a setting must be seen.
    const folded = ":is(#more, #where)";
    const wrong = changes.flatMap(({addedNodes}) => [...addedNodes]).find((e) => e.matches?.(`${folded} .validation-error`));
    if (wrong && !wrong.checkVisibility()) wrong.closest(folded).querySelector(":scope > button").click();
    document.querySelectorAll("#examples button:not([aria-label])").forEach((button, at) => { button.ariaLabel = examples[at]; });
    document.querySelectorAll("#photos [aria-label='common.upload']").forEach((button) => {
      button.ariaLabel = button.title = "Add photos";
      [button.role, button.tabIndex] = ["group", -1]; // the button in it is the one that works
    });
    document.querySelectorAll("[data-address]:empty").forEach((place) => { place.textContent = address; });
  }).observe(document.body, {childList: true, subtree: true});

  // Where the server can't be reached, Gradio reloads the page, and the photo and the answer are gone. Here it gets an
  // error in words instead, as it does for any other failure.
  const UNREACHABLE = "The server can't be reached. What is on this page stays here; try again in a moment.";
  const CUT_OFF = "The connection to the server was lost before the answer came. Try again.";
  const message = (content) => `data: ${JSON.stringify(content)}\n\n`;
  const failed = (error) => ({msg: "process_completed", success: false, output: {error, visible: true, duration: 20}});
  const ending = (words) => message(failed(words)) + message({msg: "close_stream"});
  const calmed = (event) => event.startsWith('data: {"msg":"unexpected_error"') ? ending(CUT_OFF) : `${event}\n\n`;

  // A stream of Gradio's messages that ends in words, whatever ends it.
  const answers = (body, signal) => {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    const encoder = new TextEncoder();
    let rest = "";
    return new ReadableStream({
      async pull(stream) {
        for (let events = []; !events.length; ) {
          const {value, done, lost} = await reader.read().catch(() => ({lost: true}));
          if (lost && !signal?.aborted) stream.enqueue(encoder.encode(ending(CUT_OFF)));
          if (lost || done) return stream.close();
          events = (rest + value).split("\n\n");
          rest = events.pop();
          if (events.length) stream.enqueue(encoder.encode(events.map(calmed).join("")));
        }
      },
      cancel: (reason) => reader.cancel(reason),
    });
  };

  const fetchFromServer = window.fetch;
  window.fetch = async (...request) => {
    const {pathname} = new URL(request[0].url ?? request[0], location.href);
    const [, kind] = pathname.match(/\/gradio_api\/(queue\/data|queue\/join|run|upload)\b/) ?? [];
    const {signal} = request[0].url ? request[0] : request[1] ?? {};
    const response = await fetchFromServer(...request).catch((error) => {
      if (!kind || signal?.aborted) throw error;
    });
    if (!kind) return response;
    if (kind === "queue/data") return new Response(response?.ok ? answers(response.body, signal) : ending(UNREACHABLE));
    const ours = response?.ok || response?.headers.get("content-type")?.startsWith("application/json");
    if (ours || (kind === "upload" && response)) return response;
    return kind === "upload" ? new Response(UNREACHABLE, {status: 503}) : Response.json({error: UNREACHABLE}, {status: 500});
  };

  // A host page may fit the frame to what is in it: docs/embed.html shows how.
  if (parent !== window) {
    new ResizeObserver(() => {
      parent.postMessage({img2loc: {height: document.querySelector(".gradio-container").scrollHeight}}, "*");
    }).observe(document.querySelector(".gradio-container"));
  }
}
