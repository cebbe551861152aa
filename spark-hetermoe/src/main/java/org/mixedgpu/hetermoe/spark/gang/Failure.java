package org.mixedgpu.hetermoe.spark.gang;

import java.io.InterruptedIOException;
import java.io.PrintWriter;
import java.io.Serializable;
import java.io.StringWriter;
import java.nio.channels.ClosedByInterruptException;
import java.nio.channels.FileLockInterruptionException;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.hetermoe.exchange.ExchangeAbortedException;
import org.mixedgpu.hetermoe.spark.exchange.PeerLostException;

/**
 * Why a member stopped, as text: the exception's class may be unknown to the driver.
 *
 * @param kind how close this is to the cause
 * @param summary class and message
 * @param stack the whole stack trace
 */
record Failure(Kind kind, Fault fault, String summary, String stack) implements Serializable {
  /** In the order in which failures explain what happened. */
  enum Kind {
    /** The member itself failed. */
    OWN,
    /** The member's process or executor is gone. */
    GONE,
    /** The member lost a peer. */
    LOST_PEER,
    /** The member was stopped because of another. */
    ECHO
  }

  /**
   * @param stopped whether the member was stopped before it failed
   */
  static Failure of(Throwable thrown, boolean stopped) {
    StringWriter stack = new StringWriter();
    thrown.printStackTrace(new PrintWriter(stack));
    Fault fault = thrown instanceof MixedGpuException m ? m.fault() : Fault.MISSING;
    return new Failure(kind(thrown, stopped), fault, thrown.toString(), stack.toString());
  }

  static Failure gone(String how) {
    return new Failure(Kind.GONE, Fault.MISSING, how, "");
  }

  static Kind kind(Throwable thrown, boolean stopped) {
    for (Throwable t = thrown; t != null; t = t.getCause()) {
      if (t instanceof PeerLostException) {
        return Kind.LOST_PEER;
      }
      if (t instanceof ExchangeAbortedException || isInterrupt(t)) {
        return Kind.ECHO;
      }
    }
    return stopped ? Kind.ECHO : Kind.OWN;
  }

  /** Whether an interrupt ended the call; in I/O it comes as one of several other classes. */
  private static boolean isInterrupt(Throwable t) {
    return t instanceof InterruptedException
        || t instanceof ClosedByInterruptException
        || t instanceof FileLockInterruptionException
        // Its subclasses are timeouts.
        || t.getClass() == InterruptedIOException.class;
  }
}
