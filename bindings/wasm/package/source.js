// Where a bundle's files come from when it has a URL: one origin, no redirect, nothing but the path
// that the core asks for.

/** A reason for which a file cannot be had; `missing` tells a file that is not there. */
export class Unavailable extends Error {
  constructor(message, missing = false) {
    super(message);
    this.missing = missing;
  }
}

/** The folder of a bundle. In a browser it lies on the page's own origin. */
export function bundleBase(url) {
  const page = globalThis.location?.href;
  const base = new URL(url, page);
  base.search = '';
  base.hash = '';
  if (!base.pathname.endsWith('/')) base.pathname += '/';
  if (!['http:', 'https:'].includes(base.protocol)) {
    throw new TypeError(`${base.href}: a bundle is opened by http or https, or with options.open`);
  }
  if (page && base.origin !== globalThis.location.origin) {
    throw new TypeError(`${base.origin}: a bundle is opened from this page's own origin only`);
  }
  return base;
}

/** The URL of a file beneath `base`. */
function fileUrl(base, path) {
  const url = new URL(path.split('/').map(encodeURIComponent).join('/'), base);
  if (url.origin !== base.origin || !url.pathname.startsWith(base.pathname)) {
    throw new Unavailable('the path leads out of the bundle');
  }
  return url;
}

/** How many bytes will come, where that can be known before. */
function announcedBytes(headers) {
  // Where the transfer is compressed, the length is that of what is sent.
  if (headers.get('content-encoding')) return null;
  const length = headers.get('content-length');
  return length !== null && /^[0-9]{1,15}$/.test(length) ? Number(length) : null;
}

/** Opens files beneath `base` by fetch. */
export function fetchedFrom(base) {
  return async (path, signal) => {
    let response;
    try {
      response = await fetch(fileUrl(base, path), {
        redirect: 'error',
        mode: globalThis.location ? 'same-origin' : 'cors',
        credentials: 'same-origin',
        referrerPolicy: 'no-referrer',
        cache: 'no-cache',
        signal,
      });
    } catch (error) {
      if (signal.aborted || error instanceof Unavailable) throw error;
      throw new Unavailable(
        'the server cannot be reached, or redirects, which is not followed; have it serve the ' +
          'file itself',
      );
    }
    if (response.status === 404 || response.status === 410) {
      throw new Unavailable(`the server has no such file (HTTP ${response.status})`, true);
    }
    if (response.status !== 200) {
      throw new Unavailable(`the server does not give the file (HTTP ${response.status})`);
    }
    return { bytes: announcedBytes(response.headers), stream: response.body };
  };
}
