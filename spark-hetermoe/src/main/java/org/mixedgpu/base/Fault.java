package org.mixedgpu.base;

/** What kind of thing went wrong, so that reports and rows can count failures by kind. */
public enum Fault {
  /** The caller gave something that can't be used: an option, a row, a file of the wrong kind. */
  BAD_INPUT,
  /** Something that must exist does not: a file, a library, a device, a peer. */
  MISSING,
  /** Bytes are not what was written. */
  CORRUPT,
  /** Memory, disk, time or another bounded thing is used up. */
  EXHAUSTED,
  /** The action may or may not have taken effect, as when a rename times out. */
  UNKNOWN_OUTCOME,
  /** Our own mistake; please report it. */
  BUG
}
