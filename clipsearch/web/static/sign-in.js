// The form that asks for a token, where the services want one.

import * as api from "./api.js";
import { make, plain } from "./dom.js";

/** `wrong`: what to say of a token that was refused before; `done()` is called once one is accepted. */
export function signInForm(done, wrong = "") {
  const token = make("input", { id: "token", type: "password", autocomplete: "current-password", required: true, spellcheck: "false", "aria-describedby": "token-wrong" });
  const said = make("p", { id: "token-wrong", class: "bad", role: "alert" }, wrong);
  const enter = make("button", { type: "submit", class: "strong" }, "Sign in");
  const form = make("form", { class: "sign-in" },
    make("h2", {}, "Sign in"),
    make("p", {}, "These services ask for a token. Whoever operates them makes one with ", make("code", {}, "clipsearch token"), "."),
    make("input", { type: "text", name: "username", autocomplete: "username", value: "clipsearch", hidden: true }),
    make("label", { for: "token" }, "Token"), token, said, enter);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    enter.disabled = true;
    try {
      await api.signIn(token.value.trim());
      done();
    } catch (error) {
      said.textContent = plain(error.status === 401 ? "This token is not known." : error.message);
      token.setAttribute("aria-invalid", "true");
      token.select();
      token.focus();
    } finally {
      enter.disabled = false;
    }
  });
  return form;
}
