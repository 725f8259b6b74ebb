// Service workers that other projects have left behind. A browser keeps them by host
// and port, and on a developer's machine many projects share one.

/**
 * What is wrong if a service worker that is not one of the site answers for the
 * page. It can only be told where the worker passes on what it does not know.
 * @param {string} home
 * @returns {Promise<PageError | undefined>}
 */
async function foreignWorker(home) {
  const script = navigator.serviceWorker?.controller?.scriptURL;
  if (!script?.startsWith(home)) return;
  const registration = await navigator.serviceWorker.getRegistration();
  const updated = await registration?.update().then(() => true, () => false); // past the worker and all caches
  if (!registration || updated) return;
  const { status } = await fetch(script, { method: "HEAD", cache: "no-store" }).catch(Response.error);
  if (status !== 404) return;
  return {
    title: "A service worker of another project answers for this page",
    place: new URL(script).pathname,
    text: "It was registered at this address before, and its script is not among the files that are served here. It may show what it has stored in place of them.",
    action: "Remove it and reload",
    act: async () => {
      await registration.unregister();
      location.reload();
    },
  };
}
