package axle.interop;

import com.alipay.sofa.rpc.context.RpcInvokeContext;
import com.google.protobuf.StringValue;

/** The coins that servers offer. */
public class Mint implements Coins {
    @Override
    public StringValue echo(StringValue text) {
        return StringValue.of(say(text.getValue()));
    }

    /** Gives a text back, or what it asks for. What comes as baggage goes back as other baggage. */
    @Override
    public String say(String text) {
        RpcInvokeContext context = RpcInvokeContext.getContext();
        String purse = context.getRequestBaggage("purse");
        if (purse != null) {
            context.putResponseBaggage("change", "of " + purse);
        }
        switch (text) {
            case "unchecked":
                throw new IllegalStateException("as it was told");
            case "purse":
                return String.valueOf(purse);
            default:
                return text;
        }
    }
}
