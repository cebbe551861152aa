package org.mixedgpu.cake.spark;

import java.io.Serializable;
import org.apache.spark.sql.Row;

/**
 * A row on its way to its task.
 *
 * @param row with all its columns
 * @param sharedChunks leading chunks that other prompts have too
 * @param firstOwned first chunk whose writing is this row's task's
 */
record PlannedRow(Row row, int sharedChunks, int firstOwned) implements Serializable {}
