package org.mixedgpu.local;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.Arrays;

/**
 * First class of every process that a {@link LocalCluster} starts: ends the process when its parent
 * is gone, even if the parent was killed without a chance to clean up, then runs the main class.
 */
public final class Child {
  private Child() {}

  /** Arguments: process id of the parent, main class, its arguments. */
  @SuppressWarnings("FutureReturnValueIgnored") // nothing is left to report when the JVM halts
  public static void main(String[] arguments) throws Throwable {
    ProcessHandle.of(Long.parseLong(arguments[0]))
        .ifPresentOrElse(
            parent -> parent.onExit().thenRun(() -> Runtime.getRuntime().halt(143)),
            () -> Runtime.getRuntime().halt(143));
    Method main = Class.forName(arguments[1]).getMethod("main", String[].class);
    try {
      main.invoke(null, (Object) Arrays.copyOfRange(arguments, 2, arguments.length));
    } catch (InvocationTargetException e) {
      throw e.getCause();
    }
  }
}
