package org.mixedgpu.hetermoe.plan;

/**
 * Consecutive experts of one layer that one rank holds. Rows that are grouped by expert are one
 * block per run, so that a run travels as one message.
 *
 * @param rank in the whole gang
 * @param first lowest expert
 * @param count one or more
 */
public record ExpertRun(int rank, int first, int count) {}
