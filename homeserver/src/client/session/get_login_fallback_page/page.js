"use strict";
const form = document.querySelector("form");
const said = document.querySelector("output");
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  said.textContent = "";
  const body = {
    type: "m.login.password",
    identifier: { type: "m.id.user", user: form.user.value },
    password: form.password.value,
  };
  const asked = new URLSearchParams(location.search);
  for (const name of ["device_id", "initial_device_display_name"]) {
    if (asked.has(name)) body[name] = asked.get(name);
  }
  if (asked.get("refresh_token") === "true") body.refresh_token = true;
  try {
    const answer = await fetch("/_matrix/client/v3/login", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    const response = await answer.json();
    if (!answer.ok) {
      said.textContent = response.error;
    } else if (window.matrixLogin && window.matrixLogin.onLogin) {
      window.matrixLogin.onLogin(response);
      said.textContent = "Done. You may close this page.";
    } else {
      said.textContent = "No client waits for this login.";
    }
  } catch (error) {
    said.textContent = "The server cannot be reached.";
  }
});
