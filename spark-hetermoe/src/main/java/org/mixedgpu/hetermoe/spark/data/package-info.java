/**
 * Layer 6: from a Dataset of text or token ids to batches. Rows are tokenized and packed into one
 * long sequence of ids, stored in shards on a shared file system; a batch is a pure function of the
 * step, the seed and that sequence.
 *
 * <p>A shard file, all integers little-endian: the magic {@code MGTOKENS}, int32 version 1, int32
 * tokens per block B; n tokens as int32; one CRC-32C (int32) per block of B tokens, the last one
 * shorter; a trailer of int64 n, int32 CRC-32C of everything before itself but the tokens, and the
 * magic {@code MGTE}.
 */
package org.mixedgpu.hetermoe.spark.data;
