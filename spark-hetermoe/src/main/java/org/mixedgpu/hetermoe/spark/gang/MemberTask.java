package org.mixedgpu.hetermoe.spark.gang;

import java.io.Serializable;

/**
 * What one member does, from the moment when all members have found each other. It is serialised to
 * the executors, so it may hold plain data only. It should end soon after {@link
 * MemberContext#aborted} turns true; its thread is also interrupted then.
 *
 * @param <T> what a member gives back to the driver; serialisable and small
 */
@FunctionalInterface
public interface MemberTask<T extends Serializable> extends Serializable {
  T run(MemberContext member) throws Exception;
}
