// The viewer of contact sheets and previews: step slider, wipe between the columns of a sheet, exposure, gamma, zoom.
//
// A sheet is three crops (rows, crop 3 on top) by input, ground truth, output (columns), without gaps. The pictures are
// display-ready (sRGB); exposure and gamma work in linear light through the filter of progress.js.
const SIDES = ["Input", "Ground Truth", "Output"];
const KEPT = 40;

export default {
  template: `
    <div class="viewer" :data-run="run" :data-step="step" :data-shown="shown">
      <div class="tools">
        <button v-for="kind in ['sheet', 'preview']" :key="kind" class="tab" :class="{on: tab === kind}"
          @click="choose(kind)">{{ kind === 'sheet' ? 'Training Contact Sheet' : 'Preview' }}</button>
        <span class="spacer"></span>
        <template v-if="tab === 'sheet'">
          <button class="tab" :class="{on: wipe}" @click="wipe = !wipe; fit()" title="Compare two columns of one crop">Wipe</button>
        </template>
        <button class="tab" @click="fit" title="Show the whole picture (double-click)">Fit</button>
        <button class="tab" @click="pixels" title="One picture element per screen pixel">1:1</button>
      </div>
      <div class="tools" v-if="wipe && tab === 'sheet'">
        <select v-model.number="row" aria-label="Crop" @change="draw">
          <option v-for="n in 3" :key="n" :value="3 - n">Crop {{ n }}</option></select>
        <span class="spacer"></span>
        <select v-model.number="left" aria-label="Left of the wipe" @change="draw">
          <option v-for="(side, i) in sides" :key="side" :value="i">{{ side }}</option></select>
        <span class="muted">|</span>
        <select v-model.number="right" aria-label="Right of the wipe" @change="draw">
          <option v-for="(side, i) in sides" :key="side" :value="i">{{ side }}</option></select>
      </div>
      <div class="stage" ref="stage" tabindex="0" aria-label="Picture"
        @wheel.prevent="wheel" @pointerdown="down" @pointermove="move" @pointerup="up" @pointercancel="up"
        @dblclick="fit">
        <canvas ref="canvas" :style="{filter: filter}"></canvas>
        <div v-if="run && steps.length" class="chip" :style="{borderColor: colour}">
          <span class="dot" :style="{background: colour}"></span>{{ title }}</div>
        <div v-if="!steps.length" class="nothing">{{ nothing }}</div>
        <div v-if="reading" class="pixel">{{ reading }}</div>
      </div>
      <div class="tools">
        <button class="tab" @click="go(-1)" :disabled="index <= 0" aria-label="Earlier">&#9664;</button>
        <input class="steps" type="range" min="0" :max="Math.max(steps.length - 1, 0)" :value="index"
          :disabled="steps.length < 2" aria-label="Step" @input="jump(+$event.target.value)" />
        <button class="tab" @click="go(1)" :disabled="index >= steps.length - 1" aria-label="Later">&#9654;</button>
        <span class="count">{{ steps.length ? step : '' }}</span>
      </div>
      <div class="tools">
        <label class="tool-label">Exposure</label>
        <input type="range" min="-6" max="6" step="0.1" v-model.number="exposure" aria-label="Exposure" />
        <span class="count small">{{ exposure.toFixed(1) }}</span>
        <label class="tool-label">Gamma</label>
        <input type="range" min="0.2" max="4" step="0.05" v-model.number="gamma" aria-label="Gamma" />
        <span class="count small">{{ gamma.toFixed(2) }}</span>
        <button class="tab" @click="exposure = 0; gamma = 1" :disabled="!filter">Reset</button>
      </div>
      ${window.copycat.exposureFilter("copycat-exposure")}
    </div>`,
  props: { run: String, colour: String, sheets: Array, previews: Array, generation: Number },
  data: () => ({
    tab: "sheet", index: 0, following: true, shown: -1, sides: SIDES,
    wipe: false, row: 2, left: 0, right: 2, line: 0.5,
    exposure: 0, gamma: 1, reading: "",
  }),
  computed: {
    steps() { return (this.tab === "sheet" ? this.sheets : this.previews) || []; },
    step() { return this.steps[this.index] ?? -1; },
    title() { return `${this.tab === "sheet" ? "TRAINING" : "PREVIEW"}: ${this.run} - STEP: ${this.step}`; },
    nothing() {
      if (!this.run) return "No run yet";
      return this.tab === "sheet" ? "No contact sheet yet" : "This run has no preview";
    },
    filter() { return this.exposure === 0 && this.gamma === 1 ? "" : "url(#copycat-exposure)"; },
    address() {
      if (this.step < 0) return "";
      return `${window.path_prefix || ""}/pictures/${encodeURIComponent(this.run)}/${this.tab}/${this.step}?v=${this.generation}`;
    },
  },
  watch: {
    steps(now) {
      if (this.following || this.index >= now.length) this.index = Math.max(now.length - 1, 0);
    },
    run() { this.following = true; this.index = Math.max(this.steps.length - 1, 0); },
    address() { this.load(); },
    row() { this.draw(); },
  },
  mounted() {
    this.cache = new Map();
    this.view = null; // where the picture lies: {scale, x, y} in canvas pixels; null is fitted
    this.index = Math.max(this.steps.length - 1, 0);
    this.resizes = new ResizeObserver(() => this.draw());
    this.resizes.observe(this.$refs.stage);
    window.addEventListener("keydown", this.key);
    setTimeout(() => this.load(), 0); // NiceGUI sets window.path_prefix after this
  },
  unmounted() {
    this.resizes.disconnect();
    window.removeEventListener("keydown", this.key);
  },
  methods: {
    choose(kind) { this.tab = kind; this.following = true; this.index = Math.max(this.steps.length - 1, 0); this.fit(); },
    jump(to) {
      this.index = Math.min(Math.max(to, 0), Math.max(this.steps.length - 1, 0));
      this.following = this.index === this.steps.length - 1;
    },
    go(by) { this.jump(this.index + by); },
    key(event) {
      if (event.target.closest("input, select, textarea, .ag-root-wrapper, .q-dialog") || document.querySelector(".shot-mode")) return;
      const by = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
      if (by === undefined || !this.steps.length) return;
      event.preventDefault();
      this.go(by);
    },
    load() {
      const address = this.address;
      if (!address) { this.image = null; this.shown = -1; this.draw(); return; }
      const step = this.step;
      let image = this.cache.get(address);
      if (!image) {
        image = new Image();
        image.src = address;
        this.cache.set(address, image);
        if (this.cache.size > KEPT) this.cache.delete(this.cache.keys().next().value);
      }
      image.decode().then(() => {
        if (address !== this.address) return;
        this.image = image;
        this.shown = step;
        this.draw();
      }, () => this.cache.delete(address));
    },
    // The part of the picture that is looked at, in its pixels: the sheet, or one cell of it.
    part(column) {
      const { naturalWidth: width, naturalHeight: height } = this.image;
      if (!this.wipe || this.tab !== "sheet") return [0, 0, width, height];
      const [w, h] = [width / 3, height / 3];
      return [column * w, this.row * h, w, h];
    },
    placed() {
      const canvas = this.$refs.canvas, [, , width, height] = this.part(0);
      if (this.view) return this.view;
      const scale = Math.min(canvas.width / width, canvas.height / height);
      return { scale, x: (canvas.width - width * scale) / 2, y: (canvas.height - height * scale) / 2 };
    },
    draw() {
      const canvas = this.$refs.canvas, stage = this.$refs.stage;
      if (!canvas) return;
      const ratio = window.devicePixelRatio || 1;
      const [width, height] = [Math.round(stage.clientWidth * ratio), Math.round(stage.clientHeight * ratio)];
      if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
      const pen = canvas.getContext("2d");
      pen.clearRect(0, 0, width, height);
      if (!this.image) return;
      const { scale, x, y } = this.placed();
      pen.imageSmoothingEnabled = scale < 1;
      pen.imageSmoothingQuality = "high";
      const put = (column) => {
        const [sx, sy, w, h] = this.part(column);
        pen.drawImage(this.image, sx, sy, w, h, x, y, w * scale, h * scale);
      };
      if (!this.wipe || this.tab !== "sheet") { put(0); return; }
      const edge = Math.round(width * this.line);
      put(this.left);
      pen.save();
      pen.beginPath();
      pen.rect(edge, 0, width - edge, height);
      pen.clip();
      pen.clearRect(edge, 0, width - edge, height);
      put(this.right);
      pen.restore();
      pen.fillStyle = this.colour;
      pen.fillRect(edge - ratio / 2, 0, ratio, height);
    },
    fit() { this.view = null; this.draw(); },
    pixels() {
      if (!this.image) return;
      const canvas = this.$refs.canvas, [, , width, height] = this.part(0), scale = window.devicePixelRatio || 1;
      this.view = { scale, x: Math.round((canvas.width - width * scale) / 2), y: Math.round((canvas.height - height * scale) / 2) };
      this.draw();
    },
    at(event) { // canvas pixels
      const box = this.$refs.canvas.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
      return [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
    },
    wheel(event) {
      if (!this.image) return;
      const old = this.placed(), [px, py] = this.at(event);
      const scale = Math.min(Math.max(old.scale * Math.exp(-event.deltaY * 0.0015), 0.05), 64);
      const by = scale / old.scale;
      this.view = { scale, x: px - (px - old.x) * by, y: py - (py - old.y) * by };
      this.draw();
    },
    down(event) {
      if (!this.image) return;
      this.$refs.stage.setPointerCapture(event.pointerId);
      const [px] = this.at(event), canvas = this.$refs.canvas;
      const near = this.wipe && this.tab === "sheet" && Math.abs(px - canvas.width * this.line) < 14 * (window.devicePixelRatio || 1);
      this.grab = { near, from: this.at(event), view: this.placed() };
    },
    move(event) {
      if (!this.image) return;
      const [px, py] = this.at(event);
      if (!this.grab) { this.read(px, py); return; }
      if (this.grab.near) this.line = Math.min(Math.max(px / this.$refs.canvas.width, 0), 1);
      else this.view = { ...this.grab.view, x: this.grab.view.x + px - this.grab.from[0], y: this.grab.view.y + py - this.grab.from[1] };
      this.draw();
    },
    up() { this.grab = null; },
    read(px, py) {
      const { scale, x, y } = this.placed(), [, , width, height] = this.part(0);
      const [ix, iy] = [Math.floor((px - x) / scale), Math.floor((py - y) / scale)];
      const canvas = this.$refs.canvas;
      if (ix < 0 || iy < 0 || ix >= width || iy >= height || px >= canvas.width || py >= canvas.height) { this.reading = ""; return; }
      const [r, g, b] = canvas.getContext("2d").getImageData(Math.floor(px), Math.floor(py), 1, 1).data;
      this.reading = `x ${ix}  y ${height - 1 - iy}   ${[r, g, b].map((v) => (v / 255).toFixed(3)).join("  ")}`;
    },
  },
};
