/** Money, times and addresses in Indian formats. */

/** @param {number} paise */
export const money = (paise) =>
  new Intl.NumberFormat("en-IN", {
    style: "currency",
    currency: "INR",
    minimumFractionDigits: paise % 100 ? 2 : 0,
  }).format(paise / 100);

/** @param {string} at ISO 8601 */
export const clock = (at) =>
  new Date(at).toLocaleTimeString("en-IN", { hour: "numeric", minute: "2-digit" });

/** @param {string} at ISO 8601 */
export const day = (at) =>
  new Date(at).toLocaleDateString("en-IN", { day: "numeric", month: "long", year: "numeric" });

/** @param {number} count @param {string} one */
export const counted = (count, one) => `${count} ${one}${count === 1 ? "" : "s"}`;

/** @param {{name: string, line1: string, line2?: string, city: string, postal_code: string,
 *   state: string, phone: string}} address @returns {string[]} */
export const addressLines = (address) =>
  [
    address.name,
    address.line1,
    address.line2 ?? "",
    `${address.city} ${address.postal_code}`,
    address.state,
    address.phone,
  ].filter(Boolean);
