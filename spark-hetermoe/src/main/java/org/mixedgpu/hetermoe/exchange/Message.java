package org.mixedgpu.hetermoe.exchange;

/**
 * What a receive found beside the rows themselves.
 *
 * @param header the sender's integers
 * @param rows rows that were written to the receiver's tensor
 */
public record Message(int[] header, long rows) {}
