// The admin page asks for itself again and shows what is new.
setInterval(async () => {
  const response = await fetch("/admin").catch(() => null);
  if (!response?.ok) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  document.querySelector("main").replaceWith(page.querySelector("main"));
}, 15000);
