// Reads vectors.txt, writes words.txt. A vector is an op and eight numbers in hex (unused ones 0):
//   0: load V, REFRACTORY, I_AHP, d
//   1: set DC, LEAK, V_SPIKE, REFRACTORY_STEPS, JUMP_AHP, FULL_AHP, DECAY_AHP, GAIN
//   3: step with I_SYN[0..3] after step 1 and NOISE (two's complement), and show the words, the spike and d after it
`timescale 1ns / 1ns
module soma_tb;
    reg clk = 0, load = 0, step = 0;
    reg [31:0] op, a, b, c, d, e, f, g, k;
    reg [30:0] dc = 0, leak = 0, full = 0;
    reg [23:0] v_spike = 0;
    reg [30:0] refractory_steps = 0, gain = 0;
    reg [24:0] jump = 0, decay = 0;
    wire [23:0] v;
    wire [30:0] refractory;
    wire [30:0] ahp;
    wire spike;
    integer in, out, got;

    soma neuron (.clk(clk), .load(load), .load_v(a[23:0]), .load_refractory(b[30:0]), .load_ahp(c[30:0]), .load_d(d[23:0]),
                 .dc(dc), .leak(leak), .v_spike(v_spike), .refractory_steps(refractory_steps), .jump_ahp(jump), .full_ahp(full),
                 .decay_ahp(decay), .gain(gain), .step(step), .excitatory(a[30:0]), .gated(b[30:0]), .shunting(c[30:0]),
                 .subtractive(d[30:0]), .noise(e[27:0]), .v(v), .refractory(refractory), .ahp(ahp), .spike(spike));

    initial begin
        in = $fopen("vectors.txt", "r");
        out = $fopen("words.txt", "w");
        got = $fscanf(in, "%h %h %h %h %h %h %h %h %h", op, a, b, c, d, e, f, g, k);
        while (got == 9) begin
            load = op == 0;
            step = op == 3;
            if (op == 1) begin
                dc = a[30:0];
                leak = b[30:0];
                v_spike = c[23:0];
                refractory_steps = d[30:0];
                jump = e[24:0];
                full = f[30:0];
                decay = g[24:0];
                gain = k[30:0];
            end
            #1 clk = 1;
            #1 clk = 0;
            if (op == 3) $fdisplay(out, "%h %h %h %h %h", v, refractory, ahp, spike, neuron.d);
            got = $fscanf(in, "%h %h %h %h %h %h %h %h %h", op, a, b, c, d, e, f, g, k);
        end
        $fclose(out);
        $finish;
    end
endmodule
