// The theme's search runs in a worker, which browsers refuse to pages opened from the disk: there a
// hidden frame takes its place. Worker scripts see postMessage and addEventListener as in a worker.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.title = "search";
      document.body.append(frame);
      this.inside = frame.contentWindow;
      this.inside.document.open(); // or Firefox puts an empty page in its place later
      this.inside.document.write("<!doctype html><title>search</title>");
      this.inside.document.close();
      this.inside.postMessage = (data) =>
        this.dispatchEvent(new MessageEvent("message", { data: structuredClone(data) }));
      const script = this.inside.document.createElement("script");
      // What is sent before the script runs waits for it.
      this.ready = new Promise((done) => { script.onload = done; });
      script.src = url;
      this.inside.document.documentElement.append(script);
    }
    postMessage(data) {
      this.ready.then(() => this.inside.dispatchEvent(new MessageEvent("message", { data })));
    }
    terminate() {}
  };
}
