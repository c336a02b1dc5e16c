// What runs in the browser: the page's title, and the filters that keep themselves in the address.
window.dash_clientside = Object.assign({}, window.dash_clientside, {
  dashboard: {
    title: function (title) {
      if (title) {
        document.title = title + " · Threads-Agent";
      }
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
