// What the graph and the runs table need on the browser's side. Values from files become text, never HTML.
window.copycat = (() => {
  // The filter of a view: its exposure in stops, then its gamma, in linear light. Part of the template of a component.
  const channels = (type, name, value) => ["R", "G", "B"].map((c) => `<feFunc${c} type="${type}" :${name}="${value}" />`).join("");
  const exposureFilter = (id) => `
    <svg width="0" height="0" class="hidden-filter"><filter id="${id}" color-interpolation-filters="linearRGB">
      <feComponentTransfer>${channels("linear", "slope", "2 ** exposure")}</feComponentTransfer>
      <feComponentTransfer>${channels("gamma", "exponent", "1 / gamma")}</feComponentTransfer>
    </filter></svg>`;
  const act = (action, name, value) => emitEvent("copycat-run", { action, name, value });
  const element = (tag, properties) => Object.assign(document.createElement(tag), properties);
  const escaped = (text) => {
    const box = document.createElement("div");
    box.textContent = text;
    return box.innerHTML;
  };
  const number = (value, digits) => (typeof value === "number" && isFinite(value) ? value.toFixed(digits) : "");
  const short = (value) => {
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size >= 1e6) return +(value / 1e6).toPrecision(4) + "M";
    if (size >= 1e4) return +(value / 1e3).toPrecision(4) + "k";
    if (size < 1e-3) return value.toExponential(2).replace(/\.?0+e/, "e");
    return String(+value.toPrecision(3));
  };
  const seconds = (value) => {
    if (!(value >= 0)) return "";
    const two = (n) => String(Math.floor(n)).padStart(2, "0");
    return `${Math.floor(value / 3600)}:${two((value / 60) % 60)}:${two(value % 60)}`;
  };

  // The point of a line that is nearest to a step, or undefined where the line is not at that step.
  const nearest = (line, step) => {
    const data = line.getData();
    let [low, high] = [0, data.count() - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (data.get("x", middle) < step) low = middle + 1;
      else high = middle;
    }
    const points = [low - 1, low].filter((i) => i >= 0 && i < data.count()).map((i) => line.getRawValue(i));
    const [first, last] = [data.get("x", 0), data.get("x", data.count() - 1)];
    if (step < first || step > last) return undefined;
    return points.sort((a, b) => Math.abs(a[0] - step) - Math.abs(b[0] - step))[0];
  };

  // ECharts offers only the lines that have a point at exactly this step; here every shown run speaks.
  // The points of a run are [step, smoothed loss, loss, seconds of training], of a validation [step, PSNR].
  const tooltip = (offered) => {
    const model = getElement(document.querySelector(".graph").id.slice(1)).chart.getModel();
    const runs = new Map();
    for (const line of model.getSeries()) {
      const [name, kind] = line.id.split("/");
      const point = kind === "original" ? undefined : nearest(line, offered[0].axisValue);
      if (!point) continue;
      const cells = kind
        ? [`PSNR ${number(point[1], 2)} dB at ${point[0]}`]
        : [`Step ${point[0]}`, `Loss ${short(point[2])}`, `Smoothed ${short(point[1])}`, seconds(point[3])];
      if (!runs.has(name)) runs.set(name, { colour: line.option.color, cells: [] });
      runs.get(name).cells.push(...cells);
    }
    const row = ([name, { colour, cells }]) =>
      `<tr><td><span class="dot" style="background:${escaped(colour)}"></span></td><td class="tip-name">${escaped(name)}</td>` +
      `${cells.map((cell) => `<td>${escaped(cell)}</td>`).join("")}</tr>`;
    return `<table class="tip">${[...runs].slice(0, 16).map(row).join("")}</table>`;
  };

  const box = (type, action) => (params) => {
    const input = element("input", { type, checked: Boolean(params.value), className: "cell-input" });
    input.setAttribute("aria-label", `${action === "show" ? "Show curve of" : "Activate"} ${params.data.name}`);
    input.addEventListener("change", () => act(action, params.data.name, input.checked));
    return input;
  };

  const colour = (params) => {
    const input = element("input", { type: "color", value: params.value, className: "cell-colour" });
    input.setAttribute("aria-label", `Colour of ${params.data.name}`);
    input.addEventListener("change", () => act("colour", params.data.name, input.value));
    return input;
  };

  const state = (params) => {
    const cell = element("span", { className: `state state-${params.value}`, textContent: params.value });
    if (params.data.reason) cell.title = params.data.reason;
    return cell;
  };

  const actions = (params) => {
    const cell = element("span", { className: "cell-actions" });
    for (const [action, icon, hint] of [["reveal", "folder_open", "Show on disk"], ["delete", "delete", "Delete this run"]]) {
      const button = element("button", { className: "cell-button", title: hint });
      button.append(element("i", { className: "material-icons", textContent: icon }));
      button.setAttribute("aria-label", `${hint}: ${params.data.name}`);
      button.addEventListener("click", () => act(action, params.data.name));
      cell.append(button);
    }
    return cell;
  };

  const steps = ({ data }) => (data.total && data.total !== data.steps ? `${data.steps} / ${data.total}` : String(data.steps));

  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = element("textarea", { value: text });
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  };

  // Desktop notifications need the user's leave, and a page of this machine or https.
  const showLeave = () => {
    const icon = document.querySelector(".bell .q-icon");
    if (icon) icon.textContent = window.Notification?.permission === "granted" ? "notifications_active" : "notifications_none";
  };
  const allowNotices = async () => {
    const answer = window.Notification ? await Notification.requestPermission() : "unavailable";
    showLeave();
    const text = { granted: "You get a desktop notification when a run ends.", denied: "The browser blocks notifications of this page.",
      unavailable: "The browser shows notifications only for a page of this machine or behind https." }[answer];
    if (text) Quasar.Notify.create({ message: text });
  };
  const notice = (title, body) => {
    if (window.Notification?.permission === "granted") new Notification(title, { body, tag: `copycat ${title}` });
  };

  const setTheme = (dark) => {
    Quasar.Dark.set(dark);
    localStorage.setItem("copycat-theme", dark ? "dark" : "light");
  };
  window.addEventListener("load", () => {
    const wanted = new URLSearchParams(location.search).get("theme") || localStorage.getItem("copycat-theme");
    if (wanted) setTheme(wanted !== "light");
    setTimeout(showLeave, 500);
  });

  return { exposureFilter,
    tooltip, colour, state, actions, steps, number, short, copy, notice, allowNotices,
    shown: box("checkbox", "show"),
    active: box("radio", "activate"),
    axisLabel: short,
    noRuns: '<span class="muted">No runs yet. Start a training, or run <code>copycat train</code>.</span>',
    toggleTheme: () => setTheme(!Quasar.Dark.isActive),
  };
})();
