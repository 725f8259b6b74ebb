// A counter that forgets when its page is loaded again.
const button = document.getElementById("count");
let pressed = 0;

button.addEventListener("click", () => {
  pressed += 1;
  button.textContent = pressed === 1 ? "Pressed once" : `Pressed ${pressed} times`;
});
