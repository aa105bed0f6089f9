package axle.interop;

import com.alipay.sofa.rpc.config.ConsumerConfig;

/** Books that ask others: each echo calls another server before it answers. */
public class Onward extends Books {
    private final Ledger next;

    public Onward(String url) {
        next = new ConsumerConfig<Ledger>().setInterfaceId(Ledger.class.getName()).setProtocol("bolt").setDirectUrl(url).setRegister(false)
                .setTimeout(10_000).setRetries(0).setLazy(true).refer();
    }

    @Override
    public String echo(String text) {
        return next.add(1, 2) == 3 ? text : "it is not 3";
    }
}
