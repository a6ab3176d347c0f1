/**
 * The browser's fetch, for the guest's proxy (hartwell.http.proxy).
 *
 * @param {string} method
 * @param {string} url
 * @param {string} headers JSON of pairs
 * @param {Uint8Array<ArrayBuffer>} body
 */
export async function request(method, url, headers, body) {
  const answer = await fetch(url, {
    method,
    headers: JSON.parse(headers),
    body: body.length && method !== "GET" && method !== "HEAD" ? body : undefined,
    credentials: "omit", // the guest is not the person
    referrerPolicy: "no-referrer",
    cache: "no-store",
  });
  const reader = answer.body?.getReader();
  return {
    status: answer.status,
    url: answer.url,
    headers: JSON.stringify([...answer.headers]),
    /** @returns {Promise<Uint8Array>} nothing at the end */
    read: async () => (await reader?.read())?.value ?? new Uint8Array(),
  };
}
