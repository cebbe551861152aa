package org.mixedgpu.hetermoe.train;

import java.util.ArrayList;
import java.util.List;
import org.mixedgpu.base.Check;
import org.mixedgpu.hetermoe.exchange.AllReduce;
import org.mixedgpu.tensor.DType;

/**
 * What each member of a run computes in. A message has its sender's type; who receives it converts.
 *
 * @param byRank the compute type of each rank's backend
 */
record MemberTypes(List<DType> byRank) {
  MemberTypes {
    byRank = List.copyOf(byRank);
  }

  /**
   * Learns the types of all members; collective. Attention ranks hold the same weights and must
   * change them alike, so they must have one type.
   */
  static MemberTypes exchange(AllReduce all, int rank, int ranks, int attentionRanks, DType own) {
    double[] ordinals = new double[ranks];
    ordinals[rank] = own.ordinal();
    List<DType> types = new ArrayList<>();
    for (double ordinal : all.sum(ordinals)) {
      types.add(DType.values()[(int) ordinal]);
    }
    List<DType> attention = types.subList(0, attentionRanks);
    Check.input(
        attention.stream().distinct().count() == 1,
        "Attention ranks share their weights and must compute in one type; found %s; give them all"
            + " the same precision",
        attention);
    return new MemberTypes(types);
  }

  DType of(int rank) {
    return byRank.get(rank);
  }

  /** The type whose range gradients must fit: F16 where any member has it. */
  DType narrowest() {
    return byRank.contains(DType.F16) ? DType.F16 : of(0);
  }
}
