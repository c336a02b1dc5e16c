// What runs in the browser: the page's title, the beat that asks for news, the filters that keep themselves in the address, and the notice that the
// dashboard itself is away.
window.dash_clientside = Object.assign({}, window.dash_clientside, {
  dashboard: {
    title: function (title) {
      if (title) {
        document.title = title + " · Threads-Agent";
      }
    },

    // Whoever reads where a number comes from is not interrupted: new figures would close what is open.
    tick: function (ticks) {
      return document.querySelector(".provenance") ? window.dash_clientside.no_update : ticks;
    },

    // One callback for both directions: a changed control changes the address, a changed address (a link, the back
    // button) changes the controls.
    filters: function (search, values, ids) {
      const keep = window.dash_clientside.no_update;
      const trigger = window.dash_clientside.callback_context.triggered_id;
      const parameters = new URLSearchParams(search || "");
      if (trigger === "url" || trigger === undefined) {
        const absent = (id) => (id.name === "q" ? "" : null); // what an empty text box and an unset choice hold
        return [keep, ids.map((id) => parameters.get(id.name) ?? absent(id))];
      }
      ids.forEach((id, index) => {
        const value = (values[index] || "").trim();
        value ? parameters.set(id.name, value) : parameters.delete(id.name);
      });
      if (parameters.toString() === new URLSearchParams(search || "").toString()) {
        return [keep, ids.map(() => keep)];
      }
      parameters.delete("page");
      const query = parameters.toString();
      return [query ? "?" + query : "", ids.map(() => keep)];
    },
  },
});

// A callback that nobody answers is not called again by itself: the page would stay as it is until its input moves. So
// the first answer after an absence draws the page anew, as the first beat after an outage of the database does.
(function () {
  const ask = window.fetch;
  let away = false;

  function tell(isAway) {
    if (isAway !== away) {
      away = isAway;
      window.dash_clientside.set_props("away", { hidden: !away });
      if (!away) {
        window.dash_clientside.set_props("healed", { data: "back at " + Date.now() });
      }
    }
  }

  window.fetch = async function (resource, options) {
    const isCallback = String(resource.url || resource).includes("_dash-update-component");
    try {
      const answer = await ask(resource, options);
      if (isCallback) {
        tell(false);
      }
      return answer;
    } catch (error) {
      if (isCallback && error.name !== "AbortError") {
        tell(true);
      }
      throw error;
    }
  };
})();
