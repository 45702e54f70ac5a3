// Shot view: any frame of the plate as Input, Result, Truth, Difference or Rendered; wipe, side by side, play, lanes.
//
// Over 400 lines: one component, whose parts share the picture's place, the frame and the pictures that have come.
//
// The server sends a PNG for each of input, truth, rendered and result (static: what they are made of is in
// shot_view/pictures.py). Differences, matte overlays and backgrounds are made here, from these 8-bit display values.
const KINDS = ["Input", "Result", "Truth", "Difference", "Rendered"];
const FILES = { Input: "input", Truth: "truth", Rendered: "rendered", Result: "result" };
const BACKGROUNDS = ["Grey", "Overlay", "Black", "White", "Checker"];
const POLL_MS = 1500;
const KEPT = 48; // pictures in memory
const PLAYED = 400; // small pictures of a playing shot
const GUTTER = 66; // pixels left of the lanes, for their names
const LANES = [["Painted", "painted"], ["Rendered", "rendered"], ["Doubtful", "doubtful"]];

export default {
  template: `
    <div class="shot" :data-frame="frame" :data-shown="shown" :data-step="shownStep" :data-version="shownVersion">
      <div class="tools shot-tools">
        <div class="segments" role="group" aria-label="View">
          <button v-for="(kind, i) in kinds" :key="kind" class="tab" :class="{on: left.kind === kind}" :disabled="!has(kind)"
            :title="hint(kind) + ' (' + (i + 1) + ')'" @click="pick(left, kind)">{{ kind }}</button>
        </div>
        <div class="segments" role="group" aria-label="Layout">
          <button v-for="l in ['Single', 'Wipe', 'Side by Side']" :key="l" class="tab" :class="{on: layout === l}"
            @click="layout = l" :title="l + {Single: '', Wipe: ' (W)', 'Side by Side': ' (S)'}[l]">{{ l }}</button>
        </div>
        <span class="spacer"></span>
        <button class="tab" @click="fit" title="Show the whole frame (F)">Fit</button>
        <button class="tab" @click="pixels" title="One picture element per screen pixel (Z)">1:1</button>
      </div>
      <div class="tools shot-tools">
        <template v-for="(side, i) in (layout === 'Single' ? [left] : [left, right])" :key="i">
          <span class="tool-label" v-if="layout !== 'Single'">{{ i ? 'Right' : 'Left' }}</span>
          <select v-if="i" v-model="side.kind" aria-label="Right view">
            <option v-for="kind in kinds" :key="kind" :disabled="!has(kind)">{{ kind }}</option></select>
          <template v-if="modelled(side)">
            <select v-model="side.run" :aria-label="i ? 'Right run' : 'Run'" @change="side.step = ''">
              <option value="">{{ run || 'No run' }}</option>
              <option v-for="r in others" :key="r.name" :value="r.name">{{ r.name }}</option></select>
            <select v-model="side.step" :aria-label="i ? 'Right step' : 'Step'">
              <option value="">Newest</option>
              <option v-for="s in stepsOf(side)" :key="s" :value="s">Step {{ s }}</option></select>
          </template>
        </template>
        <template v-if="matte">
          <label class="tool-label">Matte</label>
          <select v-model="background" aria-label="Matte"><option v-for="b in backgrounds" :key="b">{{ b }}</option></select>
        </template>
        <template v-if="shows('Difference')">
          <label class="tool-label">Gain</label>
          <input type="range" min="0" max="6" step="1" v-model.number="gainStops" aria-label="Gain" class="short" />
          <span class="count small">x{{ 2 ** gainStops }}</span>
        </template>
        <span class="spacer"></span>
        <span class="slider"><label class="tool-label">Exposure</label>
        <input type="range" min="-6" max="6" step="0.1" v-model.number="exposure" aria-label="Stops" class="short" @dblclick="exposure = 0" />
        <span class="count small">{{ exposure.toFixed(1) }}</span></span>
        <span class="slider"><label class="tool-label">Gamma</label>
        <input type="range" min="0.2" max="4" step="0.05" v-model.number="gamma" aria-label="Shot gamma" class="short" @dblclick="gamma = 1" />
        <span class="count small">{{ gamma.toFixed(2) }}</span></span>
      </div>
      <div class="shot-stage" ref="stage" tabindex="0" aria-label="Frame" @wheel.prevent="wheel" @pointerdown="down"
        @pointermove="move" @pointerup="up" @pointercancel="up" @dblclick="fit">
        <canvas ref="canvas" :style="{filter: filter}"></canvas>
        <div v-if="run && frames.length" class="chip" :style="{borderColor: colour}">
          <span class="dot" :style="{background: colour}"></span>{{ caption(left, shownFacts) }}</div>
        <div v-if="layout !== 'Single' && frames.length" class="chip right-chip" :style="{borderColor: colour}">{{ caption(right, rightFacts) }}</div>
        <div v-if="busy" class="chip busy">{{ busy }}</div>
        <div v-if="notice" class="nothing"><span>{{ notice }}</span></div>
        <div v-if="reading" class="pixel">{{ reading }}</div>
      </div>
      <div class="scrub" ref="scrub" role="slider" aria-label="Frames" tabindex="0" :aria-valuenow="frame"
        :aria-valuemin="frames[0] ?? 0" :aria-valuemax="frames[frames.length - 1] ?? 0"
        @pointerdown="grabScrub" @pointermove="dragScrub" @pointerup="scrubbing = false" @pointercancel="scrubbing = false">
        <canvas ref="lanes"></canvas>
      </div>
      <div class="tools shot-tools transport">
        <button class="tab" @click="near('painted', -1)" title="Previous painted frame ([)" aria-label="Previous painted frame"><i class="material-icons">skip_previous</i></button>
        <button class="tab" @click="go(-1)" title="Previous frame (Left)" aria-label="Previous frame"><i class="material-icons">chevron_left</i></button>
        <button class="tab" @click="play" :title="(playing ? 'Stop' : 'Play') + ' (Space)'" :aria-label="playing ? 'Stop' : 'Play'"><i class="material-icons">{{ playing ? 'stop' : 'play_arrow' }}</i></button>
        <button class="tab" @click="go(1)" title="Next frame (Right)" aria-label="Next frame"><i class="material-icons">chevron_right</i></button>
        <button class="tab" @click="near('painted', 1)" title="Next painted frame (])" aria-label="Next painted frame"><i class="material-icons">skip_next</i></button>
        <input class="frame-number" type="number" :value="typed ?? frame" aria-label="Frame number"
          @input="typed = $event.target.value" @change="jumpTo(+$event.target.value)" @blur="typed = null" />
        <span class="count summary">{{ counted }}</span>
        <span class="spacer"></span>
        <select v-if="shots > 1" :value="index" aria-label="Shot" @change="$emit('shot', +$event.target.value)">
          <option v-for="n in shots" :key="n" :value="n - 1">Shot {{ n }}</option></select>
        <button class="paint" :disabled="!frames.length || isPainted(frame) || isUnpainted(frame)" @click="$emit('paint', frame)"
          title="Lay a copy of this frame where its Ground Truth belongs, to be painted (P)">Paint this Frame</button>
      </div>
      ${window.copycat.exposureFilter("copycat-shot-exposure")}
    </div>`,
  props: {
    run: String, colour: String, index: Number, shots: Number, trains: Boolean, problem: String, open: Boolean, doubtful: Array,
    ...Object.fromEntries(["others", "steps", "frames", "painted", "unpainted", "rendered", "outdated"].map(
      (name) => [name, { type: Array, default: () => [] }])),
  },
  emits: ["paint", "shot", "look"],
  data: () => ({
    kinds: KINDS, backgrounds: BACKGROUNDS, frame: 0, layout: "Single",
    left: { kind: "Result", run: "", step: "" }, right: { kind: "Input", run: "", step: "" },
    background: "Grey", gainStops: 3, exposure: 0, gamma: 1, line: 0.5, playing: false, scrubbing: false,
    typed: null, // a frame number that is being typed: what comes from the server meanwhile must not undo it
    shown: "", shownStep: -1, shownVersion: "", shownFacts: null, rightFacts: null, reading: "", busy: "", failed: "", matte: false,
  }),
  computed: {
    filter() { return this.exposure === 0 && this.gamma === 1 ? "" : "url(#copycat-shot-exposure)"; },
    notice() {
      if (!this.run) return "No run yet. Start a training: its shot shows here.";
      if (this.problem && !this.frames.length) return this.problem;
      if (this.failed) return this.failed;
      if (this.layout !== "Single" || !this.frames.length || this.playing || !this.missing(this.left)) return "";
      if (this.left.kind === "Rendered") return `Frame ${this.frame} is not rendered yet.`;
      return `Frame ${this.frame} is not painted. Paint this Frame lays a copy of the plate where its Ground Truth belongs.`;
    },
    counted() {
      const parts = [[this.painted.length, "painted"], [this.unpainted.length, "to paint"], [this.rendered.length, "rendered"],
        [this.outdated.length, "outdated"], [this.doubtful?.length ?? 0, "doubtful"]];
      return parts.filter(([n]) => n).map(([n, what]) => `${n} ${what}`).join(" \u00b7 ");
    },
    // All that decides which pictures show.
    looks() { return JSON.stringify([this.run, this.index, this.frame, this.layout, this.left, this.right, this.open]); },
    lanesState() { return [this.frames, this.painted, this.unpainted, this.rendered, this.outdated, this.doubtful, this.frame, this.colour]; },
  },
  watch: {
    looks() { this.look(); },
    lanesState() { this.drawLanes(); },
    run() { this.left.run = this.right.run = this.left.step = this.right.step = ""; this.failed = ""; this.matte = false; },
    frames(now) { if (!now.includes(this.frame)) this.start(); },
    background() { this.draw(); },
    gainStops() { this.draw(); },
    painted() { this.poll(); },
    rendered() { this.small.clear(); this.poll(); },
  },
  created() {
    this.viewer = Math.random().toString(36).slice(2, 12);
    this.pictures = new Map(); // address -> {image, facts}
    this.small = new Map();
    this.composed = new Map();
    this.asked = new Map(); // address -> AbortController
    this.view = null;
  },
  mounted() {
    this.start();
    this.resizes = new ResizeObserver(() => { this.draw(); this.drawLanes(); });
    this.resizes.observe(this.$refs.stage);
    this.resizes.observe(this.$refs.scrub);
    this.themes = new MutationObserver(() => this.drawLanes());
    this.themes.observe(document.body, { attributes: true, attributeFilter: ["class"] });
    window.addEventListener("keydown", this.key);
    this.timer = setInterval(() => this.poll(), POLL_MS);
  },
  unmounted() {
    clearInterval(this.timer);
    this.resizes.disconnect();
    this.themes.disconnect();
    window.removeEventListener("keydown", this.key);
  },
  methods: {
    hint(kind) {
      return {
        Input: "The plate", Result: "The weights applied to the plate", Truth: "The painted Ground Truth",
        Difference: "Result less Truth, or less Input where nothing is painted", Rendered: "The file that was rendered",
      }[kind];
    },
    has(kind) { return kind !== "Rendered" || this.rendered.length + this.outdated.length > 0; },
    isPainted(frame) { return this.painted.includes(frame); },
    isUnpainted(frame) { return this.unpainted.includes(frame); },
    modelled(side) { return side.kind === "Result" || side.kind === "Difference"; },
    shows(kind) { return this.left.kind === kind || (this.layout !== "Single" && this.right.kind === kind); },
    stepsOf(side) { return (side.run ? this.others.find((r) => r.name === side.run)?.steps : this.steps) ?? []; },
    pick(side, kind) { this.failed = ""; side.kind = kind; },
    caption(side, facts) {
      const step = this.modelled(side) && facts?.step ? `  STEP ${facts.step}` : "";
      const against = side.kind === "Difference" ? ` TO ${this.isPainted(this.frame) ? "TRUTH" : "INPUT"}` : "";
      return `${side.kind.toUpperCase()}${against}  ${this.frame}${step}`;
    },
    start() { if (this.frames.length) this.frame = this.painted[0] ?? this.frames[0]; },

    // -- which frame

    go(by) {
      const at = this.frames.indexOf(this.frame);
      this.jumpTo(this.frames[Math.min(Math.max(at + by, 0), this.frames.length - 1)]);
    },
    jumpTo(frame) {
      if (!this.frames.length) return;
      this.frame = this.frames.reduce((best, one) => (Math.abs(one - frame) < Math.abs(best - frame) ? one : best), this.frames[0]);
      this.failed = "";
      this.typed = null;
    },
    near(lane, by) {
      const marked = lane === "painted" ? [...this.painted, ...this.unpainted].sort((a, b) => a - b) : (this.doubtful ?? []);
      const next = by > 0 ? marked.find((f) => f > this.frame) : marked.filter((f) => f < this.frame).pop();
      if (next !== undefined) this.jumpTo(next);
    },
    key(event) {
      if (!this.open || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.target.closest("input, select, textarea, .ag-root-wrapper, .q-dialog, .q-field")) return;
      const acts = {
        ArrowLeft: () => this.go(-1), ArrowRight: () => this.go(1), Home: () => this.go(-Infinity), End: () => this.go(Infinity),
        "[": () => this.near("painted", -1), "]": () => this.near("painted", 1),
        ",": () => this.near("doubtful", -1), ".": () => this.near("doubtful", 1),
        " ": () => this.play(), f: () => this.fit(), z: () => this.pixels(), p: () => this.$emit("paint", this.frame),
        w: () => { this.layout = this.layout === "Wipe" ? "Single" : "Wipe"; },
        s: () => { this.layout = this.layout === "Side by Side" ? "Single" : "Side by Side"; },
      };
      const kind = KINDS[+event.key - 1];
      const act = acts[event.key] ?? acts[event.key.toLowerCase()] ?? (kind && this.has(kind) ? () => this.pick(this.left, kind) : null);
      if (!act) return;
      event.preventDefault();
      act();
    },

    // -- pictures

    address(kind, frame, side) {
      const run = (FILES[kind] === "result" && side?.run) || this.run;
      const step = FILES[kind] === "result" && side?.step !== "" && side ? `&step=${side.step}` : "";
      const index = run === this.run ? this.index : 0;
      return `${window.path_prefix || ""}/shot/${encodeURIComponent(run)}/${index}/${FILES[kind]}/${frame}?${step.slice(1)}`;
    },
    // The pictures that a side is made of, each as [name, address].
    parts(side) {
      const frame = this.frame;
      if (side.kind === "Difference") {
        const other = this.isPainted(frame) ? "Truth" : "Input";
        return [["result", this.address("Result", frame, side)], ["other", this.address(other, frame)]];
      }
      const own = [["own", this.address(side.kind, frame, side)]];
      if (this.matte && side.kind !== "Input" && this.background !== "Grey") own.push(["input", this.address("Input", frame)]);
      return own;
    },
    missing(side) {
      const there = { Truth: [this.painted, this.unpainted], Rendered: [this.rendered, this.outdated] }[side.kind];
      return Boolean(there) && !there.some((frames) => frames.includes(this.frame));
    },
    sides() { return this.layout === "Single" ? [this.left] : [this.left, this.right]; },
    look() {
      if (!this.open || !this.run || !this.frames.length) return;
      if (!this.playing) for (const [address, control] of this.asked) { control.abort(); this.asked.delete(address); }
      for (const side of this.sides()) if (!this.missing(side)) for (const [, address] of this.parts(side)) {
        if (!this.pictures.has(address)) this.fetch(address);
      }
      this.draw();
    },
    // Newer pictures of what shows: the server says when there are some.
    poll() {
      if (!this.open || this.playing || document.hidden || !this.run || !this.frames.length) return;
      for (const side of this.sides()) if (!this.missing(side)) for (const [, address] of this.parts(side)) {
        if (!this.asked.has(address)) this.fetch(address);
      }
    },
    async fetch(address) {
      const control = new AbortController();
      this.asked.set(address, control);
      const known = this.pictures.get(address);
      const role = address.includes("/result/") ? "r" : "f";
      const side = [this.left, this.right].findIndex((one) => this.parts(one).some(([, a]) => a === address));
      const slot = `${this.viewer}-${role}${Math.max(side, 0)}${role === "f" ? address.split("/").slice(-2)[0].slice(0, 2) : ""}`;
      const late = known ? 0 : setTimeout(() => { this.busy = role === "r" ? "computing" : "reading"; }, 250);
      try {
        const answer = await fetch(`${address}&viewer=${slot}${known ? `&have=${encodeURIComponent(known.facts.version)}` : ""}`, { signal: control.signal });
        if (answer.status === 200) {
          const facts = JSON.parse(answer.headers.get("copycat-picture"));
          const image = await createImageBitmap(await answer.blob());
          this.keep(this.pictures, address, { image, facts }, KEPT);
          if (facts.matte && !this.matte) { this.matte = true; this.look(); }
          this.failed = "";
        } else if (answer.status !== 204 && !known) {
          this.failed = await answer.text();
        }
      } catch (error) {
        if (error.name !== "AbortError" && !known) this.failed = "The page's server does not answer.";
      } finally {
        clearTimeout(late);
        if (this.asked.get(address) === control) this.asked.delete(address);
        if (![...this.asked.keys()].some((one) => !this.pictures.has(one))) this.busy = "";
        this.draw();
      }
    },
    keep(map, key, value, most) {
      map.delete(key);
      map.set(key, value);
      if (map.size > most) { const oldest = map.keys().next().value; map.get(oldest).image?.close?.(); map.delete(oldest); }
    },
    // What a side shows as {image, facts}: a picture as it came, or made of two; null while one is missing.
    made(side) {
      if (this.missing(side)) return null;
      const parts = this.parts(side).map(([name, address]) => [name, this.pictures.get(address)]);
      if (parts.some(([, picture]) => !picture)) return null;
      const by = Object.fromEntries(parts);
      const facts = (by.own ?? by.result).facts;
      if (parts.length === 1) return { image: by.own.image, facts };
      const key = [side.kind, this.background, this.gainStops, ...parts.flatMap(([, p]) => [p.facts.version, this.frame])].join("|") + JSON.stringify(side);
      if (!this.composed.has(key)) {
        const image = side.kind === "Difference"
          ? mixed(by.result.image, by.other.image, difference(2 ** this.gainStops))
          : mixed(by.own.image, by.input.image, MATTES[this.background]);
        this.keep(this.composed, key, { image }, 8);
      }
      return { image: this.composed.get(key).image, facts };
    },

    // -- playing: small pictures of files, as fast as they come

    play() {
      this.playing = !this.playing;
      if (!this.playing) { this.look(); return; }
      if (!["Input", "Truth", "Rendered"].includes(this.left.kind)) this.left.kind = this.has("Rendered") ? "Rendered" : "Input";
      this.layout = "Single";
      const frames = { Input: this.frames, Truth: [...this.painted, ...this.unpainted].sort((a, b) => a - b),
        Rendered: [...this.rendered, ...this.outdated].sort((a, b) => a - b) }[this.left.kind];
      if (frames.length) this.playFrames(frames, this.left.kind);
      else this.playing = false;
    },
    playRendered() {
      this.playing = false;
      this.left.kind = "Rendered";
      this.play();
    },
    async playFrames(frames, kind) {
      let at = Math.max(frames.indexOf(this.frame), 0), next = performance.now();
      const loading = new Map();
      const load = (frame) => {
        const address = this.address(kind, frame) + "&small=true";
        if (this.small.has(address)) return Promise.resolve();
        if (!loading.has(address)) loading.set(address, fetch(address).then(async (answer) => {
          if (answer.status !== 200) throw new Error(await answer.text());
          const facts = JSON.parse(answer.headers.get("copycat-picture"));
          this.keep(this.small, address, { image: await createImageBitmap(await answer.blob()), facts }, PLAYED);
        }).finally(() => loading.delete(address)));
        return loading.get(address);
      };
      try {
        while (this.playing && this.open && this.left.kind === kind) {
          for (let ahead = 1; ahead < 4; ahead++) load(frames[(at + ahead) % frames.length]).catch(() => {});
          await load(frames[at]);
          const wait = next - performance.now();
          if (wait > 0) await new Promise((done) => setTimeout(done, wait));
          next = Math.max(next + 1000 / 24, performance.now());
          this.frame = frames[at];
          this.draw();
          at = (at + 1) % frames.length;
        }
      } catch (error) {
        this.failed = error.message;
      }
      this.playing = false;
      this.look();
    },

    // -- drawing

    placed(canvas) {
      const { width, height } = this.size ?? { width: 1, height: 1 };
      const room = this.layout === "Side by Side" ? canvas.width / 2 : canvas.width;
      if (this.view) return this.view;
      const scale = Math.min(room / width, canvas.height / height);
      return { scale, x: (room - width * scale) / 2, y: (canvas.height - height * scale) / 2 };
    },
    draw() {
      const canvas = this.$refs.canvas, stage = this.$refs.stage;
      if (!canvas || !stage.clientWidth) return;
      const ratio = window.devicePixelRatio || 1;
      const [width, height] = [Math.round(stage.clientWidth * ratio), Math.round(stage.clientHeight * ratio)];
      if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
      const pen = canvas.getContext("2d", { willReadFrequently: true });
      const played = this.playing && this.small.get(this.address(this.left.kind, this.frame) + "&small=true");
      const first = played || this.made(this.left), second = this.layout === "Single" ? null : this.made(this.right);
      const any = first ?? second;
      // While the picture of a new frame is on its way, the one before it stays: no flicker.
      if (!any && !this.missing(this.left) && !this.failed && this.frames.length && this.run) return;
      pen.clearRect(0, 0, width, height);
      this.shownFacts = first?.facts ?? null;
      this.rightFacts = second?.facts ?? null;
      this.shown = first ? `${this.left.kind}@${this.frame}` : "";
      this.shownStep = first?.facts.step ?? -1;
      this.shownVersion = first?.facts.version ?? "";
      if (!any) return;
      this.size = { width: any.facts.width, height: any.facts.height };
      const { scale, x, y } = this.placed(canvas);
      pen.imageSmoothingEnabled = scale < 1 || Boolean(played);
      pen.imageSmoothingQuality = "high";
      const put = (picture, from, to, dx) => {
        if (!picture) return;
        pen.save();
        pen.beginPath();
        pen.rect(from, 0, to - from, height);
        pen.clip();
        pen.clearRect(from, 0, to - from, height);
        pen.drawImage(picture.image, x + dx, y, picture.facts.width * scale, picture.facts.height * scale);
        pen.restore();
      };
      const edge = this.layout === "Side by Side" ? Math.round(width / 2) : Math.round(width * this.line);
      if (this.layout === "Single") put(first, 0, width, 0);
      else if (this.layout === "Wipe") { put(first, 0, edge, 0); put(second, edge, width, 0); }
      else { put(first, 0, edge, 0); put(second, edge, width, edge); }
      if (this.layout !== "Single") { pen.fillStyle = this.colour; pen.fillRect(edge - ratio / 2, 0, ratio, height); }
    },
    drawLanes() {
      const canvas = this.$refs.lanes, box = this.$refs.scrub;
      if (!canvas || !box?.clientWidth) return;
      const ratio = window.devicePixelRatio || 1, look = getComputedStyle(document.body);
      const ink = (name) => look.getPropertyValue(name).trim();
      const [width, height] = [box.clientWidth, box.clientHeight];
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      const pen = canvas.getContext("2d");
      pen.scale(ratio, ratio);
      const frames = this.frames, count = frames.length;
      if (!count) return;
      const lanes = LANES.filter(([, name]) => name !== "doubtful" || this.doubtful);
      const span = width - GUTTER - 4, cell = span / count, left = (i) => GUTTER + i * cell;
      const at = new Map(frames.map((frame, i) => [frame, i]));
      pen.font = `10px ${look.fontFamily}`;
      pen.textBaseline = "middle";
      // ruler
      const room = Math.max(1, Math.ceil(46 / cell));
      const every = [1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000, 2500, 5000].find((n) => n >= room) ?? room;
      pen.fillStyle = ink("--muted");
      let clear = 0;
      frames.forEach((frame, i) => {
        if (i && frame % every) return;
        if (left(i) < clear) return;
        pen.fillRect(left(i) + cell / 2, 12, 1, 3);
        const text = String(frame), wide = pen.measureText(text).width;
        const x = Math.min(Math.max(left(i) + cell / 2 - wide / 2, GUTTER), width - wide - 2);
        pen.fillText(text, x, 6);
        clear = x + wide + 8;
      });
      lanes.forEach(([label, name], row) => {
        const y = 17 + row * 10;
        pen.fillStyle = ink("--muted");
        pen.fillText(label, 2, y + 4);
        pen.fillStyle = ink("--raised");
        pen.fillRect(GUTTER, y, span, 7);
        const mark = (list, colour, alpha = 1, hollow = false) => {
          pen.globalAlpha = alpha;
          pen.fillStyle = pen.strokeStyle = colour;
          for (const frame of list) {
            if (!at.has(frame)) continue;
            const x = left(at.get(frame)), wide = Math.max(cell - (cell > 4 ? 1 : 0), name === "rendered" ? 1 : 2.5);
            if (hollow) pen.strokeRect(x + 0.5, y + 0.5, Math.max(wide - 1, 2), 6);
            else pen.fillRect(x, y, wide, 7);
          }
          pen.globalAlpha = 1;
        };
        if (name === "painted") { mark(this.painted, ink("--good")); mark(this.unpainted, ink("--good"), 1, true); }
        if (name === "rendered") { mark(this.outdated, ink("--accent"), 0.35); mark(this.rendered, ink("--accent")); }
        if (name === "doubtful") mark(this.doubtful, ink("--warn"));
      });
      const x = left(at.get(this.frame) ?? 0) + cell / 2;
      pen.fillStyle = ink("--text");
      pen.fillRect(x - 0.75, 11, 1.5, height - 12);
      pen.beginPath();
      pen.moveTo(x - 4, 10); pen.lineTo(x + 4, 10); pen.lineTo(x, 16);
      pen.fill();
    },

    // -- pointer

    fit() { this.view = null; this.draw(); },
    pixels() {
      const canvas = this.$refs.canvas, { width, height } = this.size ?? {}, scale = window.devicePixelRatio || 1;
      if (!width) return;
      const room = this.layout === "Side by Side" ? canvas.width / 2 : canvas.width;
      this.view = { scale, x: Math.round((room - width * scale) / 2), y: Math.round((canvas.height - height * scale) / 2) };
      this.draw();
    },
    at(event) {
      const box = this.$refs.canvas.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
      return [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
    },
    wheel(event) {
      const canvas = this.$refs.canvas, old = this.placed(canvas);
      let [px, py] = this.at(event);
      if (this.layout === "Side by Side") px %= canvas.width / 2;
      const scale = Math.min(Math.max(old.scale * Math.exp(-event.deltaY * 0.0015), 0.02), 64), by = scale / old.scale;
      this.view = { scale, x: px - (px - old.x) * by, y: py - (py - old.y) * by };
      this.draw();
    },
    down(event) {
      const stage = this.$refs.stage, canvas = this.$refs.canvas;
      stage.setPointerCapture(event.pointerId);
      stage.focus({ preventScroll: true });
      const [px] = this.at(event), reach = 14 * (window.devicePixelRatio || 1);
      const onLine = this.layout === "Wipe" && Math.abs(px - canvas.width * this.line) < reach;
      this.grab = { onLine, from: this.at(event), view: this.placed(canvas) };
    },
    move(event) {
      const [px, py] = this.at(event), canvas = this.$refs.canvas;
      if (!this.grab) { this.read(px, py); return; }
      if (this.grab.onLine) this.line = Math.min(Math.max(px / canvas.width, 0), 1);
      else this.view = { ...this.grab.view, x: this.grab.view.x + px - this.grab.from[0], y: this.grab.view.y + py - this.grab.from[1] };
      this.draw();
    },
    up() { this.grab = null; },
    read(px, py) {
      const canvas = this.$refs.canvas, { scale, x, y } = this.placed(canvas), { width, height } = this.size ?? {};
      const half = canvas.width / 2, inside = this.layout === "Side by Side" && px >= half ? px - half : px;
      const [ix, iy] = [Math.floor((inside - x) / scale), Math.floor((py - y) / scale)];
      if (!width || ix < 0 || iy < 0 || ix >= width || iy >= height || px >= canvas.width || py >= canvas.height) { this.reading = ""; return; }
      const [r, g, b] = canvas.getContext("2d").getImageData(Math.floor(px), Math.floor(py), 1, 1).data;
      this.reading = `x ${ix}  y ${height - 1 - iy}   ${[r, g, b].map((v) => (v / 255).toFixed(3)).join("  ")}`;
    },
    grabScrub(event) {
      this.$refs.scrub.setPointerCapture(event.pointerId);
      this.scrubbing = true;
      this.playing = false;
      this.dragScrub(event);
    },
    dragScrub(event) {
      if (!this.scrubbing || !this.frames.length) return;
      const box = this.$refs.scrub.getBoundingClientRect(), span = box.width - GUTTER - 4;
      const i = Math.floor(((event.clientX - box.left - GUTTER) / span) * this.frames.length);
      this.jumpTo(this.frames[Math.min(Math.max(i, 0), this.frames.length - 1)]);
    },
  },
};

// A canvas whose pixels are made of two pictures' bytes: make(a, b, out, i, x, y) fills out[i] to out[i + 2].
function mixed(first, second, make) {
  const { width, height } = first;
  const bytes = (image) => {
    const canvas = new OffscreenCanvas(width, height), pen = canvas.getContext("2d", { willReadFrequently: true });
    pen.drawImage(image, 0, 0, width, height);
    return pen.getImageData(0, 0, width, height).data;
  };
  const [a, b] = [bytes(first), bytes(second)], canvas = new OffscreenCanvas(width, height), pen = canvas.getContext("2d");
  const whole = pen.createImageData(width, height), out = whole.data;
  for (let i = 0, x = 0, y = 0; i < a.length; i += 4) {
    make(a, b, out, i, x, y);
    out[i + 3] = 255;
    if (++x === width) { x = 0; y++; }
  }
  pen.putImageData(whole, 0, 0);
  return canvas;
}

const difference = (gain) => (a, b, out, i) => {
  for (let c = i; c < i + 3; c++) out[c] = Math.min(255, Math.abs(a[c] - b[c]) * gain);
};
const over = (shade) => (a, b, out, i, x, y) => {
  const cover = a[i] / 255, behind = shade(x, y) * (1 - cover);
  for (let c = i; c < i + 3; c++) out[c] = b[c] * cover + behind;
};
const MATTES = {
  Overlay: (a, b, out, i) => {
    const cover = (a[i] / 255) * 0.6;
    out[i] = b[i] * (1 - cover) + 255 * cover;
    out[i + 1] = b[i + 1] * (1 - cover) + 40 * cover;
    out[i + 2] = b[i + 2] * (1 - cover) + 40 * cover;
  },
  Black: over(() => 0),
  White: over(() => 255),
  Checker: over((x, y) => ((x >> 4) + (y >> 4)) % 2 ? 150 : 90),
};
