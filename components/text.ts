/** A word as a shell reads it back. */
export function shellWord(word: string): string {
  return /^[\w./:@=,+-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** No message is made longer than this by a value that somebody gave. */
const shownLength = 200;

/**
 * A text from elsewhere as it may stand in a terminal or a log: control characters and what changes the direction of writing
 * are shown by their codes, and what is too long is cut. Letters are left, of whatever script.
 */
export function printable(text: string, longest = shownLength): string {
  return cut(text, longest).replace(/[^\P{C}]|[\u2028\u2029]/gu, escapeCharacter);
}

/** The same of a word that is compared with others: a letter that only looks like one of ASCII is shown by its code, too. */
export function printableWord(text: string): string {
  return cut(text).replace(/[^ -~]/gu, escapeCharacter);
}

function cut(text: string, longest = shownLength): string {
  return text.length <= longest ? text : `${text.slice(0, longest)}… (${text.length} characters)`;
}

function escapeCharacter(character: string): string {
  // What cuts a text says by itself that it does.
  if (character === "…") return character;
  const code = character.codePointAt(0) ?? 0;
  return code > 0xffff ? `\\u{${code.toString(16)}}` : `\\u${code.toString(16).padStart(4, "0")}`;
}
