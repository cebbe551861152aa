package org.mixedgpu.backend.cuda;

import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/**
 * Indexes that a kernel refuses. The numbers are those of the enum of this name in {@code
 * prelude.cuh}; the messages are those of {@link org.mixedgpu.backend.OpChecks}.
 */
enum IndexFault {
  GATHER_ROWS_INDEX(1, "gatherRows", "index"),
  COMBINE_ROWS_SLOT(2, "combineRows", "slotOf"),
  SORT_BY_EXPERT_EXPERT(3, "sortByExpert", "experts"),
  CROSS_ENTROPY_TARGET(4, "crossEntropy", "targets"),
  SCATTER_ADD_ROWS_INDEX(5, "scatterAddRows", "index"),
  COMBINE_ROWS_BACKWARD_SLOT(6, "combineRowsBackward", "slotOf"),
  ROUTER_BACKWARD_EXPERT(7, "routerBackward", "experts"),
  GROUPED_MATMUL_OFFSETS(8, "groupedMatmul", null),
  GROUPED_MATMUL_WEIGHT_GRADIENT_OFFSETS(9, "groupedMatmulWeightGradient", null);

  private final int number;
  private final String op;

  /** Null where the values are offsets of groups, which must ascend. */
  private final String operand;

  IndexFault(int number, String op, String operand) {
    this.number = number;
    this.op = op;
    this.operand = operand;
  }

  int number() {
    return number;
  }

  static IndexFault of(int number) {
    Check.that(
        number >= 1 && number <= values().length, "A kernel reports a fault of number %d", number);
    return values()[number - 1];
  }

  MixedGpuException exception(int position, int value, int limit) {
    return new MixedGpuException(
        Fault.BAD_INPUT,
        operand == null
            ? offsets(position, value, limit)
            : String.format(
                "%s needs %s in [0, %d); found %d at position %d",
                op, operand, limit, value, position));
  }

  /** The limit of an offset is the rows, or the offset before it where it is below that. */
  private String offsets(int position, int value, int limit) {
    return value >= 0 && value < limit
        ? String.format(
            "%s needs offsets that ascend; found %d after %d at position %d",
            op, value, limit, position)
        : String.format(
            "%s needs offsets that ascend within [0, %d]; found %d at position %d",
            op, limit, value, position);
  }
}
