/** Addresses, checked as the server checks them, so that a slip shows beside its field at once. */

const SEPARATORS = /[\s().-]/g;
const PIN = /^[1-9]\d{5}$/;
const MOBILE = /^(?:\+91|91|0)?[6-9]\d{9}$/;

/** @type {Record<string, string>} what to say when it is left out */
const MISSING = {
  name: "Whose name shall be on the parcel?",
  phone: "The courier needs a mobile number.",
  line1: "Which house and street?",
  postal_code: "The PIN code is missing.",
  city: "Which town or city?",
  state: "Please choose a state.",
};

/** @param {string} field @param {string} value @returns {string | null} a sentence for the buyer */
export function slipIn(field, value) {
  const given = value.trim();
  if (!given) return MISSING[field] ?? null;
  const bare = given.replace(SEPARATORS, "");
  if (field === "postal_code" && !PIN.test(bare)) return "A PIN code has six digits, like 560001.";
  if (field === "phone" && !MOBILE.test(bare))
    return "A mobile number has ten digits, like 98450 12345.";
  return null;
}
