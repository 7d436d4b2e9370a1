// The site's search when its pages are opened from disk, where browsers refuse workers: the
// worker's script runs in a hidden frame of the page.
if (location.protocol === "file:")
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.title = "search";
      document.body.append(frame);
      this.inside = frame.contentWindow;
      const load = (source) => new Promise((resolve, reject) => {
        const script = this.inside.document.createElement("script");
        script.src = source;
        script.onload = resolve;
        script.onerror = reject;
        this.inside.document.body.append(script);
      });
      this.inside.importScripts = (...sources) => Promise.all(sources.map(load));
      this.inside.postMessage = (data) => this.tell(this, data);
      this.ready = load(url);
      this.ready.catch(() => this.dispatchEvent(new Event("error")));
    }

    tell(target, data) {
      const event = new MessageEvent("message", { data });
      target.dispatchEvent(event);
      target.onmessage?.(event);
    }

    postMessage(data) {
      this.ready.then(() => this.inside.dispatchEvent(
        new this.inside.MessageEvent("message", { data })));
    }

    terminate() {
      this.inside.frameElement?.remove();
    }
  };
