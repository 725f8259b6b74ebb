// Shows the times in a list of a directory as the reader's clock has them.
for (const e of document.querySelectorAll("time")) {
  const time = new Date(e.dateTime);
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  const clock = e.querySelector(".clock");
  if (clock) clock.textContent = ` ${two(time.getHours())}:${two(time.getMinutes())}`;
  if (e.firstChild) e.firstChild.textContent = `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
}
document.querySelector("thead .date .clock")?.remove();
