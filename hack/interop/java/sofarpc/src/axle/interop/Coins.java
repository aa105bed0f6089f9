package axle.interop;

import com.google.protobuf.StringValue;

/** What only servers of Java offer. */
public interface Coins {
    /** Is called in protobuf. */
    StringValue echo(StringValue text);

    /** Does the same in hessian2. */
    String say(String text);
}
