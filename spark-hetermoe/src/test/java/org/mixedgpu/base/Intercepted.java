package org.mixedgpu.base;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;

/** Another object, but for what a test does before, after or instead of some of its calls. */
public final class Intercepted {
  private Intercepted() {}

  /** What a test does at each call. */
  public interface Interceptor {
    /**
     * Returns the call's result.
     *
     * @param method its name
     * @param arguments none for a method without any; what is changed here is what goes on
     * @param call on the object within
     */
    Object call(String method, Object[] arguments, Call call) throws Throwable;
  }

  /** The call as it came. */
  public interface Call {
    /** Throws what the object within throws. */
    Object proceed() throws Throwable;
  }

  public static <T> T over(Class<T> type, T inner, Interceptor interceptor) {
    return type.cast(
        Proxy.newProxyInstance(
            type.getClassLoader(),
            new Class<?>[] {type},
            (proxy, method, passed) -> {
              Object[] arguments = passed == null ? new Object[0] : passed;
              Call call =
                  () -> {
                    try {
                      return method.invoke(inner, arguments);
                    } catch (InvocationTargetException e) {
                      throw e.getCause();
                    }
                  };
              return interceptor.call(method.getName(), arguments, call);
            }));
  }
}
